"""``glam watch``: the progress of trainings."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument(
    "path", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/laptop")
)
def watch(path: Path) -> None:
    """Show the progress of trainings from their files; changes nothing.

    PATH is a run's directory or that of a profile; by default runs/laptop.
    """
    from rich.console import Console

    from bench.launching.watch import watch_runs

    watch_runs(path, Console(highlight=False))
