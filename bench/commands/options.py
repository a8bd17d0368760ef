"""Options that several commands share, and what they do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.one_line_errors import RUN_FAILED, complain

if TYPE_CHECKING:
    from rich.console import Console

    from bench.launching.reproduce import Outcome

_Command = TypeVar("_Command", bound=Callable[..., Any])


def options(*chosen: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Gives a command several options, in this order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(chosen):
            command = option(command)
        return command

    return decorate


PROFILE = click.option(
    "--profile",
    default="laptop",
    show_default=True,
    metavar="NAME|FILE",
    help="Setting of the runs: smoke, laptop, published-mix, smollm2, paper, or your own YAML.",
)
SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting, e.g. train.steps=1000 or agents.drrn.gamma=0.95; repeatable.",
)
AGENTS = click.option(
    "--agent",
    "agents",
    multiple=True,
    metavar="NAME|FILE.py:CLASS",
    help="Only this agent; repeatable. By default all of the profile's.",
)
OUT = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Directory under which all runs are kept.",
)
DEVICE = click.option(
    "--device", metavar="NAME", help="Torch device in place of the profile's: cpu, cuda, cuda:1."
)
FORCE_NEW = click.option(
    "--force-new",
    is_flag=True,
    help="Start afresh: existing runs are moved aside, not deleted; identical complete runs stay.",
)


def with_device(overrides: Sequence[str], device: str | None) -> tuple[str, ...]:
    """The ``--set`` pairs, ``--device`` among them."""
    # An agent's own gives way to it as well.
    return (*overrides, *([f"device={device}", f"agent.device={device}"] if device else []))


def new_console() -> Console:
    """Where progress and results are shown."""
    from rich.console import Console

    return Console()


def warn_of_threads(threads: int, console: Console, jobs: int = 1) -> None:
    """Says so where threads will wait for each other's cores, which can take many times as long.

    A run's threads are part of its record, and other numbers can give other bytes: they are never
    changed behind the user's back.

    Args:
        threads: Of a run.
        console: Where it is said.
        jobs: Runs side by side.
    """
    from bench.storage.provenance import available_cores

    cores = available_cores()
    if jobs * threads <= cores:
        return
    who, better = f"{threads} threads of a run", f"--set threads={cores} for new runs"
    if jobs > 1:
        who, better = f"{jobs} jobs of {threads} threads", f"--jobs {max(1, cores // threads)}"
        if threads > 1:
            better += ", or --set threads=1 for new runs,"
    console.print(
        f"{who} share {cores} cores; {better} would be faster", highlight=False, soft_wrap=True
    )


def show_report(directory: Path, console: Console) -> None:
    """Writes the report of a profile's runs and shows its main numbers."""
    from bench.reporting.headline import print_headline
    from bench.reporting.report import write_report

    written = write_report(directory)
    print_headline(directory, written, console)


def list_failures(outcomes: Sequence[Outcome]) -> bool:
    """One line for each run that failed, with its log."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        log = outcome.planned.run.log
        complain(f"{outcome.name} failed: {outcome.error} (log: {log})", RUN_FAILED)
    return bool(failed)
