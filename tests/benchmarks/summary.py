"""Ratios, shares of the peak and the figure, from the timings that `make bench` keeps as JSON.

Usage: python tests/benchmarks/summary.py results/speed/benchmark.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.figure_style import COLUMN_WIDTH, figure_style, render

TREE, ROWS = "prefix tree", "one row per action"
_COLOURS = {TREE: "#0072B2", ROWS: "#D55E00"}
_MARKERS = {"small": "o", "T5-small": "s"}

Row = dict[str, Any]


def model_rows(benchmarks: list[Row]) -> list[Row]:
    """Timings of the language models, with seconds a prompt and the share of the peak."""
    rows = []
    for each in benchmarks:
        info = each["extra_info"]
        if "work" in info:
            seconds = each["stats"]["median"]
            share = info["flop"] / seconds / info["peak_flops"]
            rows.append({**info, "seconds": seconds / info["prompts"], "share": share})
    return rows


def language_model_table(rows: list[Row]) -> list[str]:
    """One line for each cell: the tree, the plain way, their ratio, the share of the peak."""
    lines = [
        "| model | work | actions | tokens | numbers | prefix tree, ms/prompt | "
        "one row per action, ms/prompt | ratio | share of the fp32 peak |",
        "|---|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in (row for row in rows if row["way"] == TREE):
        cell = {key: row[key] for key in ("size", "work", "actions", "tokens")}
        plain = next((r for r in rows if r["way"] == ROWS and cell.items() <= r.items()), None)
        against = ["n/a", "n/a"]  # an interrupted run keeps what it has
        if plain is not None:
            against = [
                f"{1e3 * plain['seconds']:.1f}",
                f"{plain['seconds'] / row['seconds']:.1f}",
            ]
        lines.append(
            f"| {row['size']} | {row['work']} | {row['actions']} | {row['tokens']} "
            f"| {row['precision']} | {1e3 * row['seconds']:.1f} "
            f"| {' | '.join(against)} | {row['share']:.0%} |"
        )
    return lines


def other_table(benchmarks: list[Row]) -> list[str]:
    """Steps a second of the environment and of whole rounds of learning."""
    lines = ["| what | env steps/s |", "|---|---:|"]
    for each in benchmarks:
        info, seconds = each["extra_info"], each["stats"]["median"]
        if "steps" in info:
            name = (
                each["param"]
                if "agent" not in info
                else (f"{info['agent']}, history {info['history']}, learning included")
            )
            lines.append(f"| {name} | {info['steps'] / seconds:,.0f} |")
    return lines


def cost_figure(rows: list[Row]) -> Figure:
    """Cost of a prompt against the number of actions and against its length."""
    figure = Figure(figsize=(2 * COLUMN_WIDTH, 2.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, x, fixed in zip(
        panels, ("actions", "tokens"), (("tokens", 200), ("actions", 6)), strict=True
    ):
        for (size, marker), (way, colour) in (
            (a, b) for a in _MARKERS.items() for b in _COLOURS.items()
        ):
            picked = sorted(
                (row[x], 1e3 * row["seconds"])
                for row in rows
                if (row["size"], row["way"], row["work"]) == (size, way, "score")
                and row["precision"] == "float32"
                and row[fixed[0]] == fixed[1]
            )
            axes.plot(
                *zip(*picked, strict=True), color=colour, marker=marker, label=f"{size}, {way}"
            )
        axes.set_yscale("log")
        axes.set_xlabel({"actions": "actions (200 tokens)", "tokens": "tokens (6 actions)"}[x])
        axes.set_xticks(sorted({row[x] for row in rows}))
    panels[0].set_ylabel("scoring a prompt, ms")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def main(path: Path) -> None:
    """Prints the tables and writes them and the figure beside the JSON."""
    kept = json.loads(path.read_text())
    machine = kept["machine_info"]["cpu"]["brand_raw"]
    rows = model_rows(kept["benchmarks"])
    tables = [f"{machine}, one thread, {kept['datetime'][:10]}.", ""]
    tables += [*language_model_table(rows), "", *other_table(kept["benchmarks"])]
    text = "\n".join(tables) + "\n"
    print(text)
    path.with_name("speed.md").write_text(text)
    with figure_style():
        for ending, content in render(cost_figure(rows)).items():
            path.with_name(f"cost.{ending}").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
