"""``glam agents``: their names."""

from __future__ import annotations

import click


@click.command()
def agents() -> None:
    """List the agents."""
    from agents.registry import registered

    entries = registered()
    width = max(map(len, entries))
    for name, entry in entries.items():
        click.echo(f"{name:{width}}  {entry.summary}")
    click.echo("Your own: --agent path/to/file.py:Class, or an entry point in glam.agents.")
