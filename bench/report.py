"""Writes the report of a results directory from its rows alone: the same rows, the same bytes."""

from __future__ import annotations

from pathlib import Path

from bench import atomic
from bench.caveats import caveats
from bench.claims import verdicts
from bench.figures import all_figures
from bench.paper import PaperResults, read_paper
from bench.records import Records, read_records
from bench.setting import departures, describe_setting
from bench.table_format import Table, markdown_body, markdown_escape, to_csv, to_latex, to_markdown
from bench.tables import all_tables

_FORMATS = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def write_report(directory: Path) -> list[Path]:
    """Regenerate tables, figures and `report.md` of a results directory.

    Args:
        directory: Directory that holds `<agent>/seed-<n>/`; the report is written into it.

    Returns:
        The files written: `tables/*`, `figures/*` and `report.md`.

    Raises:
        RecordError: If there are no runs, or a record is malformed; nothing is written then.
        OSError: If a file cannot be written; the file it replaces is untouched.
    """
    records, paper = read_records(directory), read_paper()
    tables = all_tables(records, paper)
    contents: dict[Path, bytes] = {}
    for table in tables:
        for ending, render in _FORMATS.items():
            contents[directory / "tables" / f"{table.name}.{ending}"] = render(table).encode()
    for name, files in all_figures(records, paper).items():
        for ending, content in files.items():
            contents[directory / "figures" / f"{name}.{ending}"] = content
    contents[directory / "report.md"] = _markdown(records, paper, tables).encode()
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, content)
    return list(contents)


def _markdown(records: Records, paper: PaperResults, tables: tuple[Table, ...]) -> str:
    by_name = {table.name: table for table in tables}
    profiles = sorted({run.manifest["profile"] for run in records.runs if run.manifest})
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
    sections = [
        f"# GLAM-Bench, profile {' / '.join(profiles) or 'unknown'}",
        setting,
        "## The article's claims\n\nJudged by the means over seeds, in the setting above only.",
        "\n".join(["| claim and rule | outcome | evidence |", "|---|---|---|", *lines]),
        "## Q1: sample efficiency",
        _table(by_name["q1"]),
        _figure(
            "q1_learning_curves",
            "Success rate of training episodes against environment steps. Thin: seeds (dotted up "
            "to a cross: a run that did not end); bold: their mean; band: 95% t interval; dashed: "
            "agents that do not learn, on the test episodes. Below: the paper's known points.",
        ),
        "## Q2 and Q3: generalisation",
        _table(by_name["q2_q3"]),
        _figure(
            "q2_q3_generalisation",
            "Light bar: success on the reference named in each panel; dark bar: success on the "
            "split; on top the relative change. Points: seeds; lines: 95% t intervals, cut at 0 "
            "and 1.",
        ),
        _figure("q2_q3_generalisation_paper", "The paper's numbers in the same layout."),
        "## Success by task kind",
        _figure(
            "success_by_task_kind",
            "Train tasks, test episodes. All splits: [table](tables/task_kinds.md).",
        ),
        "## Caveats",
        "\n".join(notes),
        "## Where the numbers come from",
        "Every measured number is a mean over the runs listed in [runs](tables/runs.md), seed by "
        "seed in [seeds](tables/seeds.md). The paper's: "
        + "; ".join((*paper.success_sources, *paper.curve_sources))
        + ".",
        "\n".join(listed),
    ]
    return "\n\n".join(sections) + "\n"


def _table(table: Table) -> str:
    return f"{markdown_body(table)}\n{markdown_escape(' '.join(table.notes))}"


def _figure(name: str, caption: str) -> str:
    return f"![{name}](figures/{name}.png)\n\n{caption}"
