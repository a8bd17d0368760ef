"""A table and its three forms: CSV for programs, Markdown to read, LaTeX (booktabs) to print."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

from bench.reporting.measures import SeedValues

NOT_AVAILABLE = "n/a"
UNPUBLISHED = "—"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What Markdown and LaTeX show.
        fields: What CSV holds: value by the suffix of its column, the suffix "" being the column
            itself; without fields, the text.
    """

    text: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: File name without its ending, and LaTeX label.
        title: What the table shows, in one sentence.
        setting: Sentences on the runs behind it and where they depart from the paper's setting.
        notes: Sentences on how to read it.
        columns: Column titles.
        rows: Cells by row, each as long as `columns`; a bare string is its own text.
    """

    name: str
    title: str
    setting: tuple[str, ...]
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]

    def __post_init__(self) -> None:
        """Check the shape."""
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.name}: rows and columns differ in length")

    @property
    def caption(self) -> tuple[str, ...]:
        """Title, setting and notes, each a line: the caption of every form; in CSV comments."""
        return tuple(" ".join(s.split()) for s in (self.title, *self.setting, *self.notes))


def rate_cell(measured: SeedValues, change: float | None = None, signed: bool = False) -> Cell:
    """A success rate or a sample efficiency: mean ± half-width, then the relative change if given.

    `signed` is for a difference of rates: it has a sign even above zero. Failed and missing seeds
    are said in brackets with the number of seeds that remain.
    """
    summary = measured.over_seeds
    fields = {
        "mean": _number(summary.mean, 6),
        "95% half-width": _number(summary.half_width, 6),
        "seeds": str(summary.n),
        "status": measured.status,
    }
    if change is not None:
        fields["change"] = _number(change, 6)
    if summary.n == 0:
        return Cell(measured.status, fields | {"mean": measured.status})
    mean = _signed(summary.mean) if signed else rounded(summary.mean, 2)
    text = f"{mean} ± {_number(summary.half_width, 2)}"
    if change is not None:
        text += f" ({percent(change)})"
    return Cell(text + _reduced(measured), fields)


def steps_cell(measured: SeedValues) -> Cell:
    """Steps to a threshold: mean ± half-width if every seed reached it, else seed by seed."""
    values = list(measured.values.values())
    fields = {
        "mean": NOT_AVAILABLE,
        "95% half-width": NOT_AVAILABLE,
        "by seed": "; ".join(_steps(value).replace(",", "") for value in values),
        "seeds": str(len(values)),
        "status": measured.status,
    }
    if not values:
        return Cell(measured.status, fields | {"mean": measured.status})
    if all(map(math.isfinite, values)):
        summary = measured.over_seeds
        fields |= {"mean": f"{summary.mean:.0f}", "95% half-width": _number(summary.half_width, 0)}
        half_width = NOT_AVAILABLE if len(values) == 1 else _steps(summary.half_width)
        text = f"{_steps(summary.mean)} ± {half_width}"
    elif any(map(math.isfinite, values)):
        text = ", ".join(map(_steps, values))
    else:
        text = "never"
    return Cell(text + _reduced(measured), fields)


def difference_cell(difference: float) -> Cell:
    """A difference of success rates with its sign; a dash where there is none."""
    if math.isnan(difference):
        return Cell(UNPUBLISHED, {"": ""})
    return Cell(_signed(difference), {"": _number(difference, 6)})


def published_rate_cell(rate: float, change: float = math.nan) -> Cell:
    """A published success rate and its change where there is one; a dash where unpublished."""
    if math.isnan(rate):
        return Cell(UNPUBLISHED, {"": ""})
    if math.isnan(change):
        return Cell(f"{rate:.2f}", {"": f"{rate:.2f}"})
    return Cell(
        f"{rate:.2f} ({percent(change)})", {"": f"{rate:.2f}", "change": _number(change, 6)}
    )


def published_steps_cell(steps: float) -> Cell:
    """Published steps to a threshold: "never" if infinite, a dash if NaN."""
    if math.isnan(steps):
        return Cell(UNPUBLISHED, {"": ""})
    return Cell(_steps(steps), {"": _steps(steps).replace(",", "")})


def abbreviated_cell(text: str, length: int = 12) -> Cell:
    """The start of a long hash; CSV holds all of it."""
    return Cell(text[:length], {"": text})


def _steps(steps: float) -> str:
    return f"{steps:,.0f}" if math.isfinite(steps) else "never"


def percent(change: float) -> str:
    """A relative change as a signed percentage without decimals; "n/a" if NaN."""
    if math.isnan(change):
        return NOT_AVAILABLE
    whole = int(rounded(100 * change, 0))
    return f"{whole:+d}%" if whole else "0%"


def rounded(value: float, digits: int) -> str:
    """A number as text, halves away from 0, as a reader would round it.

    .215 lies below its binary neighbour and .065 above: rounded as they are stored, a column of
    differences would contradict those that it is of.
    """
    last = Decimal(1).scaleb(-digits)
    return str(Decimal(f"{value:.9f}").quantize(last, ROUND_HALF_UP))


def _signed(value: float) -> str:
    text = rounded(value, 2)
    return f"{float(text):+.2f}" if float(text) else "0.00"


def _number(value: float, digits: int) -> str:
    return NOT_AVAILABLE if math.isnan(value) else rounded(value, digits)


def _reduced(measured: SeedValues) -> str:
    return f" [n={len(measured.values)}; {measured.status}]" if measured.status else ""


def _cell(cell: Cell | str) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def to_csv(table: Table) -> str:
    """CSV under `#` comment lines; a column with fields becomes one column per field."""
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    suffixes: list[Sequence[str]] = [
        list(dict.fromkeys(suffix for row in rows for suffix in row[i].fields))
        for i in range(len(table.columns))
    ]
    out = io.StringIO()
    out.writelines(f"# {sentence}\n" for sentence in table.caption)
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] = []
    for column, found in zip(table.columns, suffixes, strict=True):
        header += [f"{column}: {suffix}" if suffix else column for suffix in found] or [column]
    writer.writerow(header)
    for row in rows:
        flat: list[str] = []
        for cell, found in zip(row, suffixes, strict=True):
            flat += [cell.fields.get(suffix, "") for suffix in found] or [cell.text]
        writer.writerow(flat)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """A GitHub table under its caption."""
    return f"{markdown_escape(' '.join(table.caption))}\n\n{markdown_body(table)}"


def markdown_body(table: Table) -> str:
    """A GitHub table without its caption."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(markdown_escape, cells)) + " |"

    lines = [line(table.columns), "|" + "---|" * len(table.columns)]
    lines += [line([_cell(cell).text for cell in row]) for row in table.rows]
    return "\n".join(lines) + "\n"


def markdown_escape(text: str) -> str:
    """Escape a text for a cell of a GitHub table: no markup of it, HTML or links, is rendered."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([|`\\]|(?<=\])\()", r"\\\1", escaped)


def to_latex(table: Table) -> str:
    """A `table*` for booktabs and graphicx, as wide as the page at most."""
    lines = [f"% {sentence}" for sentence in table.caption]
    lines += [
        r"\begin{table*}",
        rf"\caption{{{latex_escape(' '.join(table.caption))}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        r"\centering",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
        r"\toprule",
        _latex_row(table.columns),
        r"\midrule",
        *(_latex_row([_cell(cell).text for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def latex_escape(text: str) -> str:
    """Escape a text for LaTeX."""
    escaped = "".join(_LATEX.get(character, character) for character in text).replace("\n", " ")
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)  # a minus sign, not a hyphen


def _latex_row(cells: Sequence[str]) -> str:
    # a row that starts with "[" would be taken for an argument of the \\ before it
    texts = [f"{{{latex_escape(c)}}}" if c.startswith("[") else latex_escape(c) for c in cells]
    return " & ".join(texts) + r" \\"
