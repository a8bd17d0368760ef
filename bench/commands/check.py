"""``glam check``: an agent against the contract."""

from __future__ import annotations

import click

from bench.commands.options import DEVICE, PROFILE, SET, options, with_device
from bench.one_line_errors import RUN_FAILED


@click.command()
@click.argument("agent", metavar="NAME|FILE.py:CLASS")
@options(PROFILE, SET, DEVICE)
def check(agent: str, profile: str, overrides: tuple[str, ...], device: str | None) -> None:
    """Check an agent against the contract that all records rely on; leaves no files.

    Some 1,000 steps of learning four times over, some steps in a few test episodes, saving and
    resuming: minutes for an agent of the laptop profile, hours for a large language model.
    """
    from bench.contract import check_rules
    from bench.lifecycle import build_agent
    from bench.profile import load_profile

    (config,) = load_profile(profile, with_device(overrides, device), (agent,)).runs([0])
    broken = 0
    world, n_envs = config.environment, config.train.n_envs
    for result in check_rules(lambda: build_agent(config), world, n_envs):
        broken += result.breach is not None
        state = "kept   " if result.breach is None else "BROKEN "
        click.echo(f"{state} {result.rule}" + (f": {result.breach}" if result.breach else ""))
    if broken:
        click.get_current_context().exit(RUN_FAILED)
