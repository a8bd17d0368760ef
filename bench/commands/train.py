"""``glam train``: one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bench.commands.options import (
    DEVICE,
    FORCE_NEW,
    OUT,
    PROFILE,
    SET,
    new_console,
    options,
    warn_of_threads,
    with_device,
)
from bench.processes import place


@click.command()
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

    To resume an interrupted run, repeat the command.
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
    from bench.profile import agent_of
    from bench.validation import ConfigError

    for pair in overrides:
        key = pair.partition("=")[0]
        if key == "seeds":
            raise ConfigError("--set seeds: one run has one seed; use --seed")
        if agent_of(key) not in (None, agent):
            raise ConfigError(f"--set {key}: this run is of {agent}")
