"""What a person wants to read in the terminal after a report, and in the README."""

from __future__ import annotations

import os
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from bench.reporting import measures
from bench.reporting.claims import verdicts
from bench.reporting.comparison import FLOOR, SAME_DIRECTION, WITHIN, comparisons, count_verdicts
from bench.reporting.marked_block import replace_block
from bench.reporting.paper import read_paper
from bench.reporting.records import Records, read_records
from bench.reporting.setting import departures, describe_setting, profiles
from bench.reporting.table_format import Cell, Table, markdown_body, rate_cell
from bench.reporting.tables import split_title
from envs.splits import ARTICLE_SPLITS

BEGIN = "<!-- results: made by `glam report --readme`, do not edit -->"
END = "<!-- end of results -->"


def headline_table(records: Records) -> Table:
    """Success of every agent on the paper's splits, and its sample efficiency."""
    rows: list[tuple[Cell | str, ...]] = []
    asked = measures.asked_splits(records)
    shown = [split for split in ARTICLE_SPLITS if split in asked] or list(ARTICLE_SPLITS)
    for agent in records.agents:
        learns = any(run.learns for run in records.of(agent))
        efficiency = rate_cell(measures.sample_efficiency(records, agent)) if learns else "—"
        rates = [rate_cell(measures.success(records, agent, split)) for split in shown]
        rows.append((records.label(agent), *rates, efficiency))
    return Table(
        name="headline",
        title="Success on the test episodes, mean over seeds ± half of the 95% t interval.",
        setting=(describe_setting(records), *departures(records)),
        notes=(),
        columns=("agent", *map(split_title, shown), "SE in training"),
        rows=tuple(rows),
    )


def print_headline(directory: Path, written: list[Path], console: Console) -> None:
    """Shows the main numbers and verdicts, and where to read on.

    Args:
        directory: The results directory.
        written: The files of its report.
        console: Where it is shown.
    """
    records = read_records(directory)
    table = headline_table(records)
    shown = RichTable(
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
        show_edge=False,
        title=table.title,
        title_justify="left",
    )
    shown.add_column(table.columns[0], no_wrap=True)
    for column in table.columns[1:]:
        # One word a line: so the paper's table fits 80 columns.
        shown.add_column("\n".join(column.split()))
    lines = {
        agent: [cell if isinstance(cell, str) else cell.text for cell in row[1:]]
        for agent, row in zip(records.agents, table.rows, strict=True)
    }
    for agent, texts in lines.items():
        # As text, for "[n=4; 1 failed]" would be read as markup and left out.
        shown.add_row(*(Text(text.replace(" ± ", "\n± ")) for text in (agent, *texts)))
    wide = console.options.update(max_width=1000)
    if Measurement.get(console, wide, shown).maximum <= console.width:
        console.print(shown)
    else:  # a number cut short would be another number
        console.print(table.title, highlight=False)
        for agent, texts in lines.items():
            named = [f"{name} {text}" for name, text in zip(table.columns[1:], texts, strict=True)]
            console.print(f"{agent}: {', '.join(named)}", highlight=False, markup=False)
    for verdict in verdicts(records):
        claim = verdict.claim.partition(" (")[0]
        console.print(f"{claim}: [bold]{verdict.outcome}[/bold]", highlight=False)
    compared = _split_by_split(records)
    if compared:
        said = f"Rate by rate, where the paper has one: {compared}"
        console.print(said, highlight=False, markup=False)
    for sentence in departures(records):
        console.print(sentence, style="dim", highlight=False, markup=False)
    page = directory / "report.html"
    rest = f"{len(written)} files; also {directory / 'report.md'}, {directory / 'tables'}/, "
    console.print(f"\nRead on: {page}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{rest}{directory / 'figures'}/", highlight=False, markup=False, soft_wrap=True)


def readme_block(directory: Path, readme: Path) -> str:
    """The marked block of a README: a picture and the headline table.

    Args:
        directory: The results directory.
        readme: The README, which the picture's path is relative to.

    Returns:
        Markdown between and with the marks.
    """
    records = read_records(directory)
    table = headline_table(records)
    place = Path(os.path.relpath(directory.resolve(), readme.resolve().parent)).as_posix()
    picture = f"![Generalisation]({place}/figures/q2_q3_generalisation.png)"
    outcomes = [
        f"- {v.claim.partition(' (')[0]}: **{v.outcome}** ({v.evidence})" for v in verdicts(records)
    ]
    compared = _split_by_split(records)
    if compared:
        table_link = f"[comparison]({place}/tables/comparison.md)"
        outcomes.append(f"- Rate by rate, where the paper has one ({table_link}): {compared}")
    parts = [
        BEGIN,
        f"{table.title} Profile {profiles(records)}; seeds, intervals, replays and where every "
        f"number comes from: [report.html]({place}/report.html).",
        markdown_body(table).rstrip(),
        "\n".join(outcomes),
        picture,
        END,
    ]
    return "\n\n".join(parts)


def _split_by_split(records: Records) -> str:
    """How many comparisons with the paper ended in each verdict, and whose did not agree."""
    compared = comparisons(records, read_paper())
    parts = []
    for verdict, count in count_verdicts(compared).items():
        of = [c for c in compared if c.verdict == verdict]
        remark = ", ".join(dict.fromkeys(records.label(c.agent) for c in of))
        if verdict in (WITHIN, SAME_DIRECTION):
            idle = sum(c.result == c.published_result == FLOOR for c in of)
            remark = f"{idle} of them near Random in both" if idle else ""
        parts.append(f"{verdict}: {count}" + (f" ({remark})" if remark else ""))
    return "; ".join(parts)


def write_readme(directory: Path, readme: Path) -> None:
    """Puts the current block between the marks of a README.

    Args:
        directory: The results directory.
        readme: The README.

    Raises:
        RecordError: If the marks are not there, once each and in order.
    """
    replace_block(readme, BEGIN, END, readme_block(directory, readme))
