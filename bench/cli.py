"""The command line: thin commands over the modules that do the work.

Everything heavy is imported by the command that needs it, so that help is at hand at once.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import NoReturn

import click

from bench.commands.agents import agents
from bench.commands.check import check
from bench.commands.doctor import doctor
from bench.commands.evaluate import evaluate
from bench.commands.plan import plan
from bench.commands.play import play
from bench.commands.pretrain import pretrain
from bench.commands.report import report
from bench.commands.reproduce import reproduce
from bench.commands.splits import splits
from bench.commands.train import train
from bench.commands.tune import tune
from bench.commands.watch import watch
from bench.memory import postpone_collection
from bench.one_line_errors import OneLineErrors
from bench.processes import place

_ABOUT = """GLAM-Bench: language models learn BabyAI-Text with online reinforcement learning.

\b
glam reproduce             train and test everything, write tables and figures
glam train --agent drrn    one run
glam plan                  estimate what a profile costs
glam watch                 progress of running trainings
glam check my.py:Agent     does an agent of your own keep the contract?
glam play                  see an agent act, or act yourself
glam doctor                can this machine run the benchmark?
"""


@click.group(
    cls=OneLineErrors, help=_ABOUT, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="glam-bench", prog_name="glam")
def cli() -> None:
    """The group of all commands."""
    command = click.get_current_context().invoked_subcommand
    if place()[1] > 1 and command != "train":
        raise click.UsageError(f"`accelerate launch` is for `glam train`; start {command} alone")


for _command in (
    *(agents, check, doctor, evaluate, plan, play, pretrain),
    *(report, reproduce, splits, train, tune, watch),
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Entry point of ``glam``."""
    # Before NumPy is loaded: its sums must not depend on how many cores there are.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    postpone_collection()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may not know the ± of a table
    cli.main(prog_name="glam")
