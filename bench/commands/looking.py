"""Commands that look: at an agent acting or held to the contract, at trainings going on."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from bench.commands.options import DEVICE, PROFILE, SET, options, with_device


@click.command()
@click.argument("who", default="me", metavar="[WHO]")
@options(PROFILE, SET)
@click.option(
    "--split",
    default="train",
    show_default=True,
    metavar="NAME",
    help="Words and tasks to play; `glam splits` lists them.",
)
@click.option(
    "--agent",
    "agent_file",
    metavar="FILE.py:CLASS",
    help="The code of the run's agent, where that is a file.",
)
@click.option(
    "--episode",
    type=click.IntRange(0, 2**32 - 1),
    help="Seed of the first episode; by default the first test episode's.",
)
@click.option(
    "--episodes",
    type=click.IntRange(min=1),
    help="Episodes to play; by default until you quit, or one if nobody can answer.",
)
def play(
    who: str,
    profile: str,
    overrides: tuple[str, ...],
    split: str,
    agent_file: str | None,
    episode: int | None,
    episodes: int | None,
) -> None:
    """Watch an agent act, or act yourself by typing the commands.

    WHO is a run's directory (its latest checkpoint plays, in the run's own setting), the name of an
    agent (untrained, in the profile's setting), or `me`, the default.
    """
    from rich.console import Console

    from bench.config import ConfigError, nearest
    from bench.play import ME, open_game, play_episodes
    from envs import SPLITS

    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}{nearest(split, SPLITS)}")
    console = Console(highlight=False)
    source = click.get_current_context().get_parameter_source("profile")
    if who != ME and Path(who).is_dir() and source is not ParameterSource.DEFAULT:
        raise ConfigError(f"{who} is played in its own setting, without --profile")
    game = open_game(who, split, profile, overrides, console, agent_file)
    play_episodes(game, episode, episodes, sys.stdin, console)


@click.command()
@click.argument(
    "path", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/laptop")
)
def watch(path: Path) -> None:
    """See how far trainings are, from their files; changes nothing.

    PATH is a run's directory or that of a profile; by default runs/laptop.
    """
    from rich.console import Console

    from bench.launching.watch import watch_runs

    watch_runs(path, Console(highlight=False))


@click.command()
@click.argument("agent", metavar="NAME|FILE.py:CLASS")
@options(PROFILE, SET, DEVICE)
def check(agent: str, profile: str, overrides: tuple[str, ...], device: str | None) -> None:
    """Try an agent against the contract that all records rely on; keeps nothing.

    Some 1,000 steps of learning four times over, some steps in a few test episodes, saving and
    going on: minutes for an agent of the laptop profile, hours for a large language model.
    """
    from bench.contract import verdicts
    from bench.lifecycle import build_agent
    from bench.one_line_errors import RUN_FAILED
    from bench.profile import load_profile

    (config,) = load_profile(profile, with_device(overrides, device), (agent,)).runs([0])
    broken = 0
    world, n_envs = config.environment, config.train.n_envs
    for verdict in verdicts(lambda: build_agent(config), world, n_envs):
        broken += verdict.breach is not None
        state = "kept   " if verdict.breach is None else "BROKEN "
        click.echo(f"{state} {verdict.rule}" + (f": {verdict.breach}" if verdict.breach else ""))
    if broken:
        click.get_current_context().exit(RUN_FAILED)
