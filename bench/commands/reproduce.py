"""`glam reproduce`: many runs, here or in a queue, over seeds, splits and grids of settings."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.options import (
    AGENTS,
    DEVICE,
    FORCE_NEW,
    OUT,
    PROFILE,
    SET,
    list_failures,
    new_console,
    options,
    show_report,
    warn_of_threads,
    with_device,
)
from bench.one_line_errors import RUN_FAILED

if TYPE_CHECKING:
    from rich.console import Console

    from bench.launching.executors import Executor, PlannedRun

_LOCAL, _SLURM, _TRIED = "local", "slurm", "submitit-local"


@click.command()
@options(PROFILE, SET, OUT, DEVICE, FORCE_NEW, AGENTS)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0, 2**32 - 1),
    multiple=True,
    help="Only this seed; repeatable. By default all of the profile's.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME",
    help="Test on this split only; repeatable. By default all of the profile's.",
)
@click.option(
    "--grid",
    "grids",
    multiple=True,
    metavar="KEY=VALUE,VALUE",
    help="Try each of these values, e.g. agents.drrn.gamma=0.9,0.99; repeatable: all "
    "combinations, each in a directory that is named after it.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Runs side by side. By default as many as the cores allow; one on a GPU; in SLURM's "
    "queue, all.",
)
@click.option(
    "--executor",
    type=click.Choice([_LOCAL, _SLURM, _TRIED]),
    default=_LOCAL,
    show_default=True,
    help="Where to run: local processes, SLURM through submitit, or submitit's local jobs (to try "
    "the SLURM path).",
)
@click.option(
    "--slurm",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of sbatch, e.g. time=240 (minutes, needed), partition=gpu, gpus_per_node=1; "
    "repeatable.",
)
@click.option(
    "--launch",
    metavar="COMMAND",
    help="Command that starts each run instead of python, such as "
    "'.venv/bin/accelerate launch --multi_gpu --num_processes 4'.",
)
@click.option("--no-report", is_flag=True, help="Leave tables and figures to `glam report`.")
def reproduce(
    profile: str,
    overrides: tuple[str, ...],
    out: Path,
    device: str | None,
    force_new: bool,
    agents: tuple[str, ...],
    seeds: tuple[int, ...],
    splits: tuple[str, ...],
    grids: tuple[str, ...],
    jobs: int | None,
    executor: str,
    slurm: tuple[str, ...],
    launch: str | None,
    no_report: bool,
) -> int:
    """Train and test a profile's agents, then write the report.

    Complete runs are skipped and interrupted ones resumed: to resume, repeat the command.
    """
    import json

    from bench.doctor import paper
    from bench.launching.executors import PlannedRun
    from bench.launching.reproduce import reproduce as reproduce_runs
    from bench.launching.reproduce import train_command
    from bench.launching.sweep import parse_grid, points
    from bench.lifecycle import check_device
    from bench.validation import ConfigError

    published = paper()
    if not no_report and published.grade == "problem":
        raise ConfigError(published.detail)
    pairs = with_device(overrides, device)
    if splits:
        pairs = (*pairs, f"evaluation.splits={json.dumps(list(splits))}")
    planned: list[PlannedRun] = []
    for point in points(profile, pairs, agents, seeds or None, [parse_grid(g) for g in grids]):
        place = out / point.name if point.name else out
        command = train_command(
            profile, (*pairs, *point.pairs), place, force_new=force_new, launch=launch
        )
        planned += [PlannedRun(run, place, command(run), point.name) for run in point.runs]
    if executor != _SLURM:  # the nodes of a cluster need not be like this machine
        for name in dict.fromkeys(each.config.device for each in planned):
            check_device(name)
    console = new_console()
    chosen = _executor(executor, slurm, jobs)
    if executor == _SLURM:
        jobs = len(planned)  # all wait in its queue, which keeps to --jobs
    else:
        jobs = jobs or _fitting(planned)
        threads = max(each.config.threads for each in planned)
        warn_of_threads(threads, console, min(jobs, len(planned)))
    outcomes = reproduce_runs(planned, console, jobs=jobs, executor=chosen, force_new=force_new)
    try:
        if not no_report:
            _show(out, planned, bool(grids), console)
    finally:
        failed = list_failures(outcomes)
    return RUN_FAILED if failed else 0


def _executor(name: str, slurm: Sequence[str], jobs: int | None) -> Executor:
    from bench.launching.executors import LocalExecutor
    from bench.launching.slurm_options import slurm_options
    from bench.launching.submission import SubmititExecutor
    from bench.validation import ConfigError

    if name == _LOCAL:
        if slurm:
            raise ConfigError("--slurm is for --executor slurm, and this is local")
        return LocalExecutor()
    if name == _TRIED and not any(pair.startswith("time=") for pair in slurm):
        slurm = ("time=1440", *slurm)
    return SubmititExecutor("slurm" if name == _SLURM else "local", slurm_options(slurm), jobs)


def _fitting(planned: Sequence[PlannedRun]) -> int:
    """Runs side by side for which this machine has cores; one on a GPU."""
    from bench.storage.provenance import available_cores

    if any(each.config.device != "cpu" for each in planned):
        return 1
    return max(1, available_cores() // max(each.config.threads for each in planned))


def _show(out: Path, planned: Sequence[PlannedRun], swept: bool, console: Console) -> None:
    from bench.launching.sweep import write_summary

    directories = {each.point: each.out / each.config.profile for each in planned}
    if not swept:
        for directory in filter(Path.is_dir, directories.values()):
            show_report(directory, console)
        return
    profile = planned[0].config.profile
    table = out / f"sweep-{profile}.csv"
    for earlier in sorted(out.glob(f"*=*/{profile}")):
        directories.setdefault(earlier.parent.name, earlier)
    write_summary(table, directories)
    some = next(iter(directories.values()))
    line = f"All runs of the sweep: {table}; tables and figures of a point: "
    line += f"glam report {shlex.quote(str(some))}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
