"""``glam doctor``: can this machine and this installation do it?"""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import OUT
from bench.one_line_errors import RUN_FAILED


@click.command()
@OUT
def doctor(out: Path) -> int:
    """Check whether this machine and installation can run the benchmark.

    Ends with 1 if something will fail; a note means that results may differ from the reference.
    """
    from bench.doctor import findings

    problem = False
    for finding in findings(out):
        problem = problem or finding.grade == "problem"
        click.echo(f"{finding.grade:8} {finding.topic:9} {finding.detail}")
    return RUN_FAILED if problem else 0
