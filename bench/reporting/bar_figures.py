"""Q2 and Q3 in the paper's layout, for ours and for the paper's numbers; success by task kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.reporting import measures
from bench.reporting.figure_style import (
    COLUMN_WIDTH,
    agent_colours,
    figure_title,
    legend_columns,
    legend_height,
    legend_label,
    lighten,
)
from bench.reporting.measures import SeedValues
from bench.reporting.paper import MODEL, OWN_NAME, PaperResults
from bench.reporting.records import Records
from bench.reporting.table_format import percent
from bench.reporting.tables import split_title
from envs.splits import ARTICLE_SPLITS

_POINT: Mapping[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 1.8,
    "markeredgewidth": 0.3,
    "clip_on": False,
}
_LEVEL_CHANGES = 5  # agents up to which the percentages fit side by side


@dataclass(frozen=True)
class _Pair:
    """Two bars of one agent: its success on the reference and on the split."""

    colour: str
    reference: SeedValues
    split: SeedValues


def generalisation(records: Records) -> Figure:
    """Q2 and Q3 in the paper's layout: light bar the reference, dark bar the split.

    On top the relative change; points are seeds, lines 95% t intervals, cut at 0 and 1.
    """
    colours = agent_colours(records.agents)
    panels = {
        (split, reference): [
            _Pair(
                colours[agent],
                measures.success(records, agent, reference),
                measures.success(records, agent, split),
            )
            for agent in records.agents
        ]
        for split, reference in _article_panels()
    }
    legend = {legend_label(records, agent): colours[agent] for agent in records.agents}
    return _bar_panels(panels, legend, figure_title(records, "Measured"))


def paper_generalisation(paper: PaperResults) -> Figure:
    """The paper's numbers in the layout of `generalisation`."""
    own = {name: agent for agent, name in OWN_NAME.items()}
    colours = agent_colours([own[name] for name in paper.agents])

    def published(split: str, name: str) -> SeedValues:
        rate = paper.success_rate.get((split, name))
        return SeedValues({} if rate is None else {0: rate}, missing=(0,) if rate is None else ())

    panels = {
        (split, reference): [
            _Pair(colours[own[name]], published(reference, name), published(split, name))
            for name in paper.agents
        ]
        for split, reference in _article_panels()
    }
    legend = {name: colours[own[name]] for name in paper.agents}
    return _bar_panels(panels, legend, f"paper ({MODEL}), read off its figures", seeds=False)


def _article_panels() -> list[tuple[str, str]]:
    pairs = [(split, ref) for split in ARTICLE_SPLITS for ref in measures.comparisons(split)]
    return [(split, reference) for split, reference in pairs if reference is not None]


def _bar_panels(
    panels: Mapping[tuple[str, str], Sequence[_Pair]],
    legend: Mapping[str, str],
    title: str,
    seeds: bool = True,
) -> Figure:
    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(COLUMN_WIDTH, 0.3 + 1.2 * rows + legend_height(list(legend))))
    grid = figure.subplots(rows, 2, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes, ((split, reference), pairs) in zip(grid.flat, panels.items(), strict=False):
        for position, pair in enumerate(pairs):
            _draw_pair(axes, position, pair, seeds, upright=len(pairs) > _LEVEL_CHANGES)
        axes.set_title(f"{split_title(split)}\nlight: {split_title(reference)}")
        axes.set_xticks([])
        middle, half = (len(pairs) - 1) / 2, max(len(pairs), 4) / 2 + 0.1
        axes.set_xlim(middle - half, middle + half)
        axes.set_ylim(0, 1.5 if len(pairs) > _LEVEL_CHANGES else 1.3)
        axes.set_yticks([0, 0.5, 1])
    for axes in grid[:, 0]:
        axes.set_ylabel("success rate")
    figure.suptitle(title, fontsize="medium")
    handles = [Patch(color=colour, label=label) for label, colour in legend.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(list(legend)))
    return figure


def _draw_pair(axes: Axes, position: float, pair: _Pair, seeds: bool, upright: bool) -> None:
    top = 0.0
    for offset, measured, colour in (
        (-0.2, pair.reference, lighten(pair.colour)),
        (0.2, pair.split, pair.colour),
    ):
        top = max(top, _draw_bar(axes, position + offset, 0.4, measured, colour, seeds))
    if pair.split.values and pair.reference.values:
        change = percent(measures.relative_change(pair.split, pair.reference))
        rotation = 90 if upright else 0
        axes.text(position, top + 0.05, change, ha="center", va="bottom", size=5, rotation=rotation)


def _draw_bar(
    axes: Axes, x: float, width: float, measured: SeedValues, colour: str, seeds: bool = True
) -> float:
    """Draw a mean, its interval and seeds, or the word for why there is none; return the top."""
    summary = measured.over_seeds
    if summary.n == 0:
        axes.text(x, 0.02, measured.status, rotation=90, ha="center", va="bottom", size=5)
        return 0.0
    axes.bar(x, summary.mean, width, color=colour)
    if not seeds:
        return summary.mean
    values = list(measured.values.values())
    axes.plot([x] * len(values), values, color="white", markeredgecolor="black", **_POINT)
    top = max(values)
    if not math.isnan(summary.half_width):
        low = max(summary.mean - summary.half_width, 0)
        high = min(summary.mean + summary.half_width, 1)
        axes.plot([x, x], [low, high], color="black", lw=0.7)
        top = max(top, high)
    return top


def success_by_task_kind(records: Records) -> Figure:
    """Success on the train tasks' test episodes by task kind; points are seeds."""
    labels = [legend_label(records, agent) for agent in records.agents]
    figure = Figure(figsize=(COLUMN_WIDTH, 1.9 + legend_height(labels)))
    axes = figure.subplots()
    colours = agent_colours(records.agents)
    counts = measures.kind_counts(records, "train")
    width = 0.84 / max(len(records.agents), 1)
    for index, agent in enumerate(records.agents):
        for position, kind in enumerate(counts):
            measured = measures.success_by_kind(records, agent, "train", kind)
            x = position + (index - (len(records.agents) - 1) / 2) * width
            _draw_bar(axes, x, width, measured, colours[agent])
    if not counts:
        axes.text(0.5, 0.5, "no test episodes", ha="center", transform=axes.transAxes)
    axes.set_xticks(range(len(counts)), [f"{kind}\nn={n}" for kind, n in counts.items()])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("success rate")
    axes.set_title(
        f"{figure_title(records, split_title('train'))}\n(n: test episodes of the kind per run)"
    )
    handles = [Patch(color=colours[agent]) for agent in records.agents]
    figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(labels))
    return figure
