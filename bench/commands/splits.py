"""``glam splits``: their names."""

from __future__ import annotations

import click


@click.command()
def splits() -> None:
    """List the evaluation splits."""
    from envs import SPLITS

    width = max(map(len, SPLITS))
    for name, split in SPLITS.items():
        reference = f", against {split.reference}" if split.reference else ""
        click.echo(f"{name:{width}}  {split.question:9}  {split.title}, {split.level}{reference}")
