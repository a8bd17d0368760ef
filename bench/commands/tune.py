"""``glam tune``: a search for options."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import FORCE_NEW, list_failures, new_console, options
from bench.one_line_errors import RUN_FAILED


@click.command()
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
