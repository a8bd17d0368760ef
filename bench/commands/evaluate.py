"""``glam evaluate``: tests of a trained run."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import new_console


@click.command()
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
    help="Test episodes of every split, from now on this run's; existing ones are replaced.",
)
@click.option(
    "--agent",
    "agent_file",
    metavar="FILE.py:CLASS",
    help="The run's agent, if it is code in a file; such code runs only when named here.",
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
    from bench.lifecycle import evaluate_run
    from bench.storage.run import RunDirectory
    from bench.validation import ConfigError, nearest
    from envs import SPLITS

    for name in splits:
        if name not in SPLITS:
            raise ConfigError(f"unknown split {name!r}{nearest(name, SPLITS)}")
    evaluate_run(RunDirectory(run), new_console(), splits, episodes, agent_file, device)
