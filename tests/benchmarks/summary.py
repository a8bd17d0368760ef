"""Tables, figures and the block of docs/performance.md, from what `make bench` measured.

Usage: python tests/benchmarks/summary.py measured.json

The timings are kept as results/speed/<machine>/benchmark.json; everything else is made of these.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from bench.reporting.figure_style import COLUMN_WIDTH, figure_style, render
from bench.storage import atomic

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results" / "speed"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- measured: made by `make bench`, do not edit -->", "<!-- end of measured -->"

TREE, SHORT, ROWS = "prefix tree", "prefix tree, bfloat16", "one row per action"
FEW, PRODUCT = "prefix tree, 6 actions", "matrix product"
_COLOURS = {TREE: "#0072B2", SHORT: "#56B4E9", ROWS: "#D55E00"}
_MARKERS = {"MiniFlan": "o", "T5-small": "s"}

Row = dict[str, Any]
Measured = dict[str, Any]
"""A machine, and its cells."""


def compact(measured: dict[str, Any]) -> Measured:
    """The machine, and of every cell what it is, medians, quartile ranges, rounds and ratios."""
    machine, code = measured["machine_info"], measured["commit_info"]
    cpu = machine["cpu"]
    made = {
        "date": measured["datetime"][:10],
        "commit": code["id"][:7] + (" with changes" if code["dirty"] else ""),
        "torch": f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}",
    }
    return {
        "machine": {
            "processor": processor_name(cpu, machine["processor"]),
            "cores": cpu.get("count"),
            "system": f"{machine['system']} {machine['machine']}",
            "python": machine["python_version"],
        },
        "threads": 1,
        "cells": [{**made, **each["extra_info"]} for each in measured["benchmarks"]],
    }


def processor_name(cpu: dict[str, Any], otherwise: str) -> str:
    """Name, family and model: a cloud's processors of several generations bear the same name."""
    name = cpu.get("brand_raw", otherwise)
    if "family" not in cpu:
        return str(name)
    return f"{name} (family {cpu['family']}, model {cpu.get('model')})"


def milliseconds(way: Row, scale: float = 1e3) -> str:
    """The median and, behind it, the range of the middle half."""
    return f"{scale * way['seconds']:.3g} ({scale * way['iqr']:.2g})"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, words: int = 1) -> list[str]:
    """A Markdown table; the first columns are words, the others numbers."""
    ruler = ["---"] * words + ["---:"] * (len(columns) - words)
    return [f"| {' | '.join(map(str, line))} |" for line in (columns, ruler, *rows)]


def language_model_table(cells: list[Row]) -> list[str]:
    """A line for each cell: ours, the plain way, their ratio, the share of the peak."""
    rows = []
    for cell in sorted(cells, key=itemgetter("size", "work", "actions", "tokens")):
        ways = cell["ways"]
        # Ours over the product, both of the same round: the share of the product's rate.
        product = cell["flop"] / cell["product_flop"]
        for way in (TREE, SHORT):
            if way in ways:
                ratio = ways[ROWS]["ratio"] / ways[way]["ratio"]
                share = product * ways[PRODUCT]["ratio"] / ways[way]["ratio"]
                rows.append(
                    [
                        f"{cell['size']}, {cell['work']}{way.removeprefix(TREE)}",
                        *(str(cell["actions"]), str(cell["tokens"])),
                        *(milliseconds(ways[way]), milliseconds(ways[ROWS])),
                        *(f"{ratio:.1f}", f"{share:.0%}"),
                    ]
                )
    numbers = "actions", "tokens", "ours", "one row per action", "ratio", "share of the peak"
    return table(("what", *numbers), rows)


def flatness(cells: list[Row]) -> list[str]:
    """What 24 actions cost in 6 actions' time, by model, kind of work and length."""
    ratios: dict[str, list[str]] = {}
    for cell in sorted(cells, key=itemgetter("size", "work", "tokens")):
        if FEW in cell["ways"]:
            ratio = f"{1 / cell['ways'][FEW]['ratio']:.2f} at {cell['tokens']} tokens"
            ratios.setdefault(f"{cell['size']}, {cell['work']}", []).append(ratio)
    found = "; ".join(f"{what}: {', '.join(of)}" for what, of in ratios.items())
    return [f"Time with 24 actions over time with 6 (aim: at most 1.15): {found}."]


def without_bfloat16(cells: list[Row]) -> list[str]:
    """Why there are no 16-bit cells, where there are none."""
    slow = [
        cell["bfloat16_slowness"]
        for cell in cells
        if SHORT not in cell["ways"] and "bfloat16_slowness" in cell  # older cells were mixed
    ]
    if not slow:
        return []
    times = f"{min(slow):.0f} times as long as in 32-bit numbers"
    return [
        f"Not measured in bfloat16: a matrix product takes {times} here, so `auto` never takes it."
    ]


def environment_table(cells: list[Row]) -> list[str]:
    """Steps and resets a second, and the time of each in that of stock MiniGrid."""
    rows = [
        [
            *(f"{cell['work']}, {name}", milliseconds(way, 1e3 / cell["count"])),
            *(f"{cell['count'] / way['seconds']:,.0f}", f"{way['ratio']:.2f}"),
        ]
        for cell in cells
        for name, way in cell["ways"].items()
    ]
    return table(("environment", "ms", "a second", "time in stock MiniGrid's"), rows)


def round_table(cells: list[Row]) -> list[str]:
    """Environment steps a second of each agent, learning included."""
    rows = []
    for cell in cells:
        one, two = cell["ways"]["one run"], cell["ways"]["two runs"]
        name = cell["setting"].rpartition(".")[2]
        rows.append([f"{cell['agent']}, {name}", f"{1 / one['seconds']:,.0f}"])
        rows[-1] += [f"{2 / two['seconds']:,.0f}", milliseconds(one), f"{2 / two['ratio']:.2f}"]
    numbers = "steps/s, one run", "two runs side by side", "ms a step", "gain of the second"
    return table(("agent", *numbers), rows)


def other_table(cells: list[Row]) -> list[str]:
    """Start-up, and what reading groups at once and a shared beginning once is worth."""
    rows = []
    for cell in cells:
        if cell["cell"] == "start-up":
            (way,) = cell["ways"].values()
            rows.append([f"`{cell['command']}`, processor time", f"{way['seconds']:.2f} s"])
        elif cell["cell"] == "groups":
            ratio = cell["ways"]["a pass each"]["ratio"]
            what = f"MiniFlan, {cell['work']}, {cell['prompts']} prompts in {cell['groups']} groups"
            rows.append([f"{what}: gain over a pass for each", f"{ratio:.2f} ×"])
        elif cell["cell"] == "shared beginning":
            ratio = cell["ways"]["read in every prompt"]["ratio"]
            what = (
                f"causal model, {cell['work']}, {cell['shared']} of {cell['tokens']} tokens shared"
            )
            rows.append([f"{what}: gain of reading them once", f"{ratio:.2f} ×"])
    return table(("what", "median"), rows)


def cost_figure(cells: list[Row]) -> Figure:
    """Cost of scoring a prompt against the number of actions and against its length."""
    figure = Figure(figsize=(2 * COLUMN_WIDTH, 2.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, x, fixed in zip(
        panels, ("actions", "tokens"), (("tokens", 200), ("actions", 6)), strict=True
    ):
        for size, marker in _MARKERS.items():
            for way, colour in _COLOURS.items():
                picked = sorted(
                    (cell[x], 1e3 * cell["ways"][way]["seconds"])
                    for cell in cells
                    if (cell["size"], cell["work"], cell[fixed[0]]) == (size, "score", fixed[1])
                    and way in cell["ways"]
                )
                if not picked:
                    continue
                axes.plot(
                    [place for place, _ in picked],
                    [cost for _, cost in picked],
                    color=colour,
                    marker=marker,
                    label=f"{size}, {way}",
                )
        axes.set_yscale("log")
        axes.set_xlabel({"actions": "actions (200 tokens)", "tokens": "tokens (6 actions)"}[x])
        axes.set_xticks(sorted({cell[x] for cell in cells}))
    panels[0].set_ylabel("scoring a prompt, ms")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def of_kind(kept: Measured, kind: str) -> list[Row]:
    """The cells of one kind; an interrupted run lacks some."""
    return [cell for cell in kept["cells"] if cell["cell"] == kind]


def section(kept: Measured) -> str:
    """What was measured on one machine."""
    machine, scored = kept["machine"], of_kind(kept, "language model")
    dates = sorted({cell["date"] for cell in kept["cells"]})
    commits = sorted({cell.get("commit", "not noted") for cell in kept["cells"]})
    where = f"../results/speed/{folder_name(machine)}"
    intro = (
        f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}, one thread, "
        f"{' and '.join(dates)}, commit {' and '.join(commits)} "
        f"([benchmark.json]({where}/benchmark.json) has each cell's)."
    )
    parts = [
        [f"### {machine['processor']}"],
        [intro],
        language_model_table(scored),
        flatness(scored),
        without_bfloat16(scored),
        environment_table(of_kind(kept, "environment")),
        round_table(of_kind(kept, "round")),
        other_table(
            [c for kind in ("groups", "shared beginning", "start-up") for c in of_kind(kept, kind)]
        ),
        [f"![Cost of scoring]({where}/cost.png)"],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def folder_name(machine: dict[str, Any]) -> str:
    """The processor's name as a folder's."""
    return re.sub(r"[^a-z0-9]+", "-", machine["processor"].lower()).strip("-")


def all_kept() -> list[Measured]:
    """What was measured, machine by machine."""
    return [json.loads(path.read_text()) for path in sorted(KEPT.glob("*/benchmark.json"))]


def joined(older: Measured, newer: Measured) -> Measured:
    """What was measured, with the older cells of the same kind of machine it leaves out."""

    def same(one: Row, other: Row) -> bool:
        found = {"date", "commit", "torch", "ways", "flop", "shared", "groups", "bfloat16_slowness"}
        names = (one.keys() | other.keys()) - found
        return all(one.get(name) == other.get(name) for name in names)

    if any(older.get(name) != newer[name] for name in ("machine", "threads")):
        return newer
    cells = list(older["cells"])
    for cell in newer["cells"]:
        places = [i for i, other in enumerate(cells) if same(cell, other)]
        if places:
            cells[places[0]] = cell
        else:
            cells.append(cell)
    return {**newer, "cells": cells}


def with_block(page: str) -> str:
    """The page with a section for every machine between its marks."""
    block = "\n\n".join([BEGIN, *map(section, all_kept()), END])
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: block, page, flags=re.DOTALL)


def main(measured: Path) -> None:
    """Prints the tables; writes the JSON, the figure and the page's block."""
    kept = compact(json.loads(measured.read_text()))
    path = KEPT / folder_name(kept["machine"]) / "benchmark.json"
    if path.exists():
        kept = joined(json.loads(path.read_text()), kept)
    print(section(kept))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, json.dumps(kept, indent=1) + "\n")
    atomic.write_text(PAGE, with_block(PAGE.read_text(encoding="utf-8")))
    with figure_style():
        for ending, content in render(cost_figure(of_kind(kept, "language model"))).items():
            if ending != "pdf":
                path.with_name(f"cost.{ending}").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
