"""``glam report``: page, tables and figures from the rows."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import new_console, show_report


@click.command()
@click.argument(
    "directory", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/laptop")
)
@click.option(
    "--readme",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Also update the results block of this README.",
)
def report(directory: Path, readme: Path | None) -> None:
    """Write page, tables and figures again, from the rows alone.

    DIRECTORY holds the runs of a profile; by default runs/laptop.
    """
    show_report(directory, new_console())
    if readme is not None:
        from bench.reporting.headline import write_readme

        write_readme(directory, readme)
