"""The command line: thin commands over the modules that do the work.

Everything heavy is imported by the command that needs it, so that help is at hand at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from bench.commands.looking import check, play, watch
from bench.commands.options import (
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
from bench.commands.plan import plan
from bench.commands.reproduce import reproduce
from bench.memory import postpone_collection
from bench.one_line_errors import RUN_FAILED, OneLineErrors
from bench.processes import place

_ABOUT = """GLAM-Bench: language models learn BabyAI-Text with online reinforcement learning.

\b
glam reproduce             train and test everything, write tables and figures
glam train --agent drrn    one run
glam plan                  what a profile costs, before it is paid
glam watch                 how far trainings are
glam check my.py:Agent     does an agent of your own keep the contract?
glam play                  see an agent act, or act yourself
glam doctor                can this machine do it?
"""


@click.group(
    cls=OneLineErrors, help=_ABOUT, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="glam-bench", prog_name="glam")
def cli() -> None:
    """The group of all commands."""
    command = click.get_current_context().invoked_subcommand
    if place()[1] > 1 and command != "train":
        raise click.UsageError(f"`accelerate launch` is for `glam train`; start {command} alone")


@cli.command()
@options(PROFILE, SET, OUT, DEVICE, FORCE_NEW)
@click.option(
    "--agent",
    required=True,
    metavar="NAME|FILE.py:CLASS",
    help="Agent to train; `glam agents` lists them. Its options: --set agent.OPTION=VALUE.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of the run; all randomness comes from it.",
)
@click.option("--no-test", is_flag=True, help="Stop after training.")
def train(
    profile: str,
    overrides: tuple[str, ...],
    out: Path,
    device: str | None,
    force_new: bool,
    agent: str,
    seed: int,
    no_test: bool,
) -> None:
    """Train one agent from one seed, then test it.

    An interrupted run is gone on with: give the same command again.
    """
    from bench.lifecycle import perform
    from bench.profile import load_profile

    loaded = load_profile(profile, with_device(overrides, device), (agent,))
    _refuse_idle(overrides, *loaded.agents)
    (config,) = loaded.runs([seed])
    console = new_console()
    if place()[0] == 0:
        warn_of_threads(config.threads, console)
    run = perform(config, out, console, force_new=force_new, test=not no_test)
    if place()[0] == 0:
        console.print(f"{run.state()}: {run.path}", markup=False, highlight=False, soft_wrap=True)


def _refuse_idle(overrides: Sequence[str], agent: str) -> None:
    """A setting that does nothing in one run is a slip."""
    from bench.config import ConfigError
    from bench.profile import agent_of

    for pair in overrides:
        key = pair.partition("=")[0]
        if key == "seeds":
            raise ConfigError("--set seeds: one run has one seed; use --seed")
        if agent_of(key) not in (None, agent):
            raise ConfigError(f"--set {key}: this run is of {agent}")


@cli.command()
@click.argument(
    "search",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("results/tuning/laptop.yaml"),
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/tuning"),
    show_default=True,
    help="Directory of the trials' runs and of trials.csv.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Trials side by side.",
)
@click.option(
    "--no-train", is_flag=True, help="Write trials.csv again from the runs that are there."
)
@options(FORCE_NEW)
def tune(search: Path, out: Path, jobs: int, no_train: bool, force_new: bool) -> int:
    """Search for options, with the same number of trials for every agent.

    SEARCH is a YAML file of the trials, by default results/tuning/laptop.yaml.
    """
    from bench.launching.tune import load_search, tabulate
    from bench.launching.tune import tune as run_trials

    found, console = load_search(search), new_console()
    if no_train:
        tabulate(found, out, console)
        failed = False
    else:
        failed = list_failures(run_trials(found, out, console, jobs=jobs, force_new=force_new))
    click.echo(out / "trials.csv")
    return RUN_FAILED if failed else 0


@cli.command()
@click.argument("model", default="miniflan")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/pretraining"),
    show_default=True,
    help="Directory of its rows, checkpoints and at last the model.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="OPTION=NUMBER",
    help="Change an option, e.g. steps=1000; repeatable.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of PyTorch; another number gives other last digits.",
)
def pretrain(model: str, out: Path, overrides: tuple[str, ...], threads: int) -> None:
    """Pretrain a language model on the project's own instruction mixture.

    An interrupted pretraining is gone on with: give the same command again.
    """
    from bench.pretrain import pretrain as pretrain_model
    from bench.reporting.model_card import write_card, write_curve

    folder = pretrain_model(model, out, new_console(), overrides, threads)
    write_curve(out)
    write_card(out)
    click.echo(f"pretrained: {folder}")


@cli.command()
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME",
    help="Play this split; repeatable. By default all of the run's. `glam splits` lists them.",
)
@click.option(
    "--episodes",
    type=click.IntRange(1, 1_000_000),
    help="Test episodes of every split, for this run from now on; those there are are replaced.",
)
@click.option(
    "--agent",
    "agent_file",
    metavar="FILE.py:CLASS",
    help="The run's own agent, where it is code in a file; such code runs only when named.",
)
@click.option("--device", metavar="NAME", help="Torch device in place of the training's.")
def evaluate(
    run: Path,
    splits: tuple[str, ...],
    episodes: int | None,
    agent_file: str | None,
    device: str | None,
) -> None:
    """Test a trained run again, or on further splits.

    RUN is the run's directory, such as runs/laptop/drrn/seed-0.
    """
    from bench.config import ConfigError, nearest
    from bench.lifecycle import evaluate_run
    from bench.storage.run import RunDirectory
    from envs import SPLITS

    for name in splits:
        if name not in SPLITS:
            raise ConfigError(f"unknown split {name!r}{nearest(name, SPLITS)}")
    evaluate_run(RunDirectory(run), new_console(), splits, episodes, agent_file, device)


@cli.command()
@click.argument(
    "directory", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/laptop")
)
@click.option(
    "--readme",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Also bring the marked block of this README up to date.",
)
def report(directory: Path, readme: Path | None) -> None:
    """Write page, tables and figures again, from the rows alone.

    DIRECTORY holds the runs of a profile; by default runs/laptop.
    """
    show_report(directory, new_console())
    if readme is not None:
        from bench.reporting.headline import write_readme

        write_readme(directory, readme)


@cli.command()
def agents() -> None:
    """List the agents."""
    from agents.registry import registered

    entries = registered()
    width = max(map(len, entries))
    for name, entry in entries.items():
        click.echo(f"{name:{width}}  {entry.summary}")
    click.echo("Your own: --agent path/to/file.py:Class, or an entry point in glam.agents.")


@cli.command()
def splits() -> None:
    """List the evaluation splits."""
    from envs import SPLITS

    width = max(map(len, SPLITS))
    for name, split in SPLITS.items():
        reference = f", against {split.reference}" if split.reference else ""
        click.echo(f"{name:{width}}  {split.question:9}  {split.title}, {split.level}{reference}")


@cli.command()
@OUT
def doctor(out: Path) -> int:
    """Look whether this machine and this installation can run the benchmark.

    Ends with 1 if something will fail; a note means that results may differ from the reference.
    """
    from bench.doctor import findings

    problem = False
    for finding in findings(out):
        problem = problem or finding.grade == "problem"
        click.echo(f"{finding.grade:8} {finding.topic:9} {finding.detail}")
    return RUN_FAILED if problem else 0


cli.add_command(reproduce)
cli.add_command(plan)
cli.add_command(play)
cli.add_command(watch)
cli.add_command(check)


def main() -> NoReturn:
    """Entry point of ``glam``."""
    # Before NumPy is loaded: its sums must not depend on how many cores there are.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    postpone_collection()
    cli.main(prog_name="glam")
