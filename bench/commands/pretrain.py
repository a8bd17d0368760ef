"""``glam pretrain``: MiniFlan, from nothing."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import new_console


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/pretraining"),
    show_default=True,
    help="Directory for its rows, its checkpoints and the finished model.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="OPTION=NUMBER",
    help="Change an option, e.g. steps=1000; repeatable.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="PyTorch threads; another number changes rounding.",
)
def pretrain(out: Path, overrides: tuple[str, ...], threads: int) -> None:
    """Pretrain MiniFlan on the project's own instruction mixture.

    To resume an interrupted pretraining, repeat the command.
    """
    from bench.pretrain import pretrain as pretrain_miniflan
    from bench.reporting.model_card import write_card, write_curve

    folder = pretrain_miniflan(out, new_console(), overrides, threads)
    write_curve(out)
    write_card(out)
    click.echo(f"pretrained: {folder}")
