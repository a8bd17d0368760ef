"""The command that says what a profile costs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import click

from bench.commands.options import AGENTS, DEVICE, PROFILE, SET, options, with_device

SECONDS = 20.0


@click.command()
@options(PROFILE, SET, DEVICE, AGENTS)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.0, max=3600.0),
    default=SECONDS,
    show_default=True,
    help="How long each agent is tried.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--readme",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Also write the output into this file's plan block.",
)
def plan(
    profile: str,
    overrides: tuple[str, ...],
    device: str | None,
    agents: tuple[str, ...],
    seconds: float,
    as_json: bool,
    readme: Path | None,
) -> None:
    """Say what a profile costs before anything is spent.

    Steps, tokens, FLOPs, memory and hours of every agent, on this machine and on named GPUs. Takes
    a minute or more: each agent is tried for --seconds, or a shallow model of its size is timed.
    """
    from rich.console import Console

    from bench.lifecycle import device_here
    from bench.planning.plan import plan_profile
    from bench.planning.plan_text import print_plan, write_plan
    from bench.profile import load_profile

    if as_json and readme is not None:
        raise click.UsageError("--readme takes the tables, not --json")
    pairs = with_device(overrides, device)
    loaded = load_profile(profile, pairs, agents)
    plans = plan_profile(loaded, seconds)
    if as_json:
        click.echo(json.dumps([one.to_json() for one in plans], indent=1))
        return
    words = [f"--agent {name}" for name in agents] + [f"--set {pair}" for pair in pairs]
    if seconds != SECONDS:
        words.append(f"--seconds {seconds:g}")
    command = " ".join(["glam plan", f"--profile {profile}", *words])
    text = io.StringIO()
    page = Console(file=text, width=132, highlight=False, markup=False)
    print_plan(loaded.name, plans, device_here(loaded.device), page, command)
    shown = "\n".join(line.rstrip() for line in text.getvalue().splitlines())
    click.echo(shown)
    if readme is not None:
        write_plan(shown, readme)
