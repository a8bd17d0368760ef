"""Writes the report of a results directory from its rows alone: the same rows, the same bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from bench.reporting.caveats import caveats
from bench.reporting.claims import verdicts
from bench.reporting.comparison_tables import all_tables
from bench.reporting.figures import CAPTIONS, all_figures
from bench.reporting.paper import PaperResults, read_paper
from bench.reporting.records import Records, read_records
from bench.reporting.report_page import render_page
from bench.reporting.setting import departures, describe_setting, profiles
from bench.reporting.table_format import (
    Table,
    markdown_body,
    markdown_escape,
    to_csv,
    to_latex,
    to_markdown,
)
from bench.storage import atomic

_PROBE_FIGURES = ("probe_best_action", "probe_actions")
_FORMATS = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def write_report(directory: Path) -> list[Path]:
    """Regenerate tables, figures, `report.md` and `report.html` of a results directory.

    Args:
        directory: Directory that holds `<agent>/seed-<n>/`; the report is written into it.

    Returns:
        The files written: `tables/*`, `figures/*`, `report.html` and `report.md`.

    Raises:
        RecordError: If there are no runs, or a record is malformed; nothing is written then.
        OSError: If a file cannot be written; the file it replaces is untouched.
    """
    records, paper = read_records(directory), read_paper()
    tables = all_tables(records, paper)
    figures = all_figures(records, paper)
    contents: dict[Path, bytes] = {}
    for table in tables:
        for ending, render in _FORMATS.items():
            contents[directory / "tables" / f"{table.name}.{ending}"] = render(table).encode()
    for name, files in figures.items():
        for ending, content in files.items():
            contents[directory / "figures" / f"{name}.{ending}"] = content
    page = render_page(records, paper, tables, figures)
    contents[directory / "report.html"] = page.encode()
    contents[directory / "report.md"] = markdown(records, paper, tables, figures).encode()
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, content)
    return list(contents)


def markdown(
    records: Records, paper: PaperResults, tables: Sequence[Table], figures: Collection[str]
) -> str:
    """The content of ``report.md``.

    Args:
        records: The runs.
        paper: The published numbers.
        tables: All tables, which are also files.
        figures: Names of the figures that there are.
    """
    by_name = {table.name: table for table in tables}
    setting = "\n".join(
        f"> {markdown_escape(s)}" for s in (describe_setting(records), *departures(records))
    )
    lines = [
        f"| {v.claim} | **{v.outcome}** | {markdown_escape(v.evidence)} |"
        for v in verdicts(records)
    ]
    notes = [f"- {markdown_escape(sentence)}" for sentence in caveats(records)] or ["- None."]
    listed = [
        f"- {table.title} [CSV](tables/{table.name}.csv), [Markdown](tables/{table.name}.md), "
        f"[LaTeX](tables/{table.name}.tex)"
        for table in tables
    ]
    learning = [n for n in (*_PROBE_FIGURES, "training_diagnostics") if n in figures]
    sections = [
        f"# GLAM-Bench, profile {profiles(records)}\n\nThe same with replays and provenance: "
        "[report.html](report.html).",
        setting,
        "## The paper's claims\n\nJudged by the means over seeds, in the setting above only.",
        "\n".join(["| claim and rule | outcome | evidence |", "|---|---|---|", *lines]),
        "## Q1: sample efficiency",
        _table(by_name["q1"]),
        _figure("q1_learning_curves"),
        "## Q2 and Q3: generalisation",
        _table(by_name["q2_q3"]),
        _figure("q2_q3_generalisation"),
        _figure("q2_q3_generalisation_paper"),
        "## Ours beside the paper's",
        _table(by_name["comparison"]),
        "## All questions together",
        _table(by_name["aggregate"]),
        "## Success by task kind",
        _figure("success_by_task_kind") + " All splits: [table](tables/task_kinds.md).",
        "## Success by distance and view",
        _table(by_name["difficulty"]),
        *(("## While they learn", *map(_figure, learning)) if learning else ()),
        "## Caveats",
        "\n".join(notes),
        "## Where the numbers come from",
        "Every measured number is a mean over the runs listed in [runs](tables/runs.md), which has "
        "those of training run by run; those of the tests are in [seeds](tables/seeds.md). The "
        "paper's: " + "; ".join((*paper.success_sources, *paper.curve_sources)) + ".",
        "\n".join(listed),
    ]
    return "\n\n".join(sections) + "\n"


def _table(table: Table) -> str:
    return f"{markdown_body(table)}\n{markdown_escape(' '.join(table.notes))}"


def _figure(name: str) -> str:
    return f"![{name}](figures/{name}.png)\n\n{CAPTIONS[name]}"
