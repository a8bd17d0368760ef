"""``glam play``: an agent or a person acts in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from bench.commands.options import PROFILE, SET, options


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
    help="Episodes to play; by default until you quit, or one if input is not a terminal.",
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

    from bench.play import ME, open_game, play_episodes
    from bench.validation import ConfigError, nearest
    from envs import SPLITS

    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}{nearest(split, SPLITS)}")
    console = Console(highlight=False)
    source = click.get_current_context().get_parameter_source("profile")
    if who != ME and Path(who).is_dir() and source is not ParameterSource.DEFAULT:
        raise ConfigError(f"{who} is played in its own setting, without --profile")
    game = open_game(who, split, profile, overrides, console, agent_file)
    play_episodes(game, episode, episodes, sys.stdin, console)
