"""Q1: the learning curves, and the known points of the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from bench.reporting import measures, statistics
from bench.reporting.figure_style import (
    COLUMN_WIDTH,
    agent_colours,
    figure_title,
    legend_columns,
    legend_height,
    legend_label,
)
from bench.reporting.paper import MODEL, OWN_NAME, CurvePoint, PaperResults
from bench.reporting.records import ENDED, Records, Run

_DASH = 4
_ONE_LINE = 0.01
"""Difference in success below which two lines cannot be told apart."""


def q1_learning_curves(records: Records, paper: PaperResults) -> Figure:
    """Success rate in training against environment steps, over the paper's known points.

    Thin lines are seeds, dotted where the run did not end; bold is the mean of the ended runs, its
    band the 95% t interval. Agents that do not learn are dashed at their success on the train
    tasks' test episodes.
    """
    labels = [legend_label(records, agent) for agent in records.agents]
    figure = Figure(figsize=(COLUMN_WIDTH, 3.5 + legend_height(labels)))
    axes, below = figure.subplots(2, 1, height_ratios=(2.3, 1))
    colours = agent_colours(records.agents)
    levels: dict[str, float] = {}
    for agent in records.agents:
        if any(run.learns for run in records.of(agent)):
            _draw_curve(axes, records, agent, colours[agent])
        else:
            levels[agent] = measures.success(records, agent, "train").over_seeds.mean
    _draw_levels(axes, levels, colours)
    axes.set_title(figure_title(records, "Measured"))
    _rate_axis(axes, "success rate (training)")
    axes.set_xlim(0, 1.05 * max(run.budget for run in records.runs) or 1)
    _draw_paper_points(figure, below, paper)
    handles = [
        Line2D(
            [],
            [],
            color=colours[agent],
            linewidth=1,
            linestyle="-" if any(run.learns for run in records.of(agent)) else "--",
        )
        for agent in records.agents
    ]
    figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(labels))
    return figure


def _draw_levels(axes: Axes, levels: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Dashed lines; those that would lie on one another take turns in one line's dashes."""
    for agent, level in levels.items():
        alike = [other for other in levels if abs(levels[other] - level) < _ONE_LINE]
        if alike:  # none where there is no success to draw
            dash = (_DASH * alike.index(agent), (_DASH, _DASH * max(len(alike) - 1, 0.5)))
            axes.axhline(level, color=colours[agent], linestyle=dash, linewidth=1)


def _draw_curve(axes: Axes, records: Records, agent: str, colour: str) -> None:
    runs = [run for run in records.of(agent) if run.learns and run.budget > 0]
    for run in runs:
        ends, rates = _curve(run)
        if run.state in ENDED:
            axes.plot(ends, rates, color=colour, linewidth=0.5, alpha=0.6, **_points(rates))
        elif not np.isnan(rates).all():
            axes.plot(ends, rates, color=colour, linewidth=0.8, linestyle=":")
            last = np.flatnonzero(~np.isnan(rates))[-1]
            axes.plot(ends[last], rates[last], color=colour, marker="x", markersize=4)
    ended = [run for run in runs if run.state in ENDED]
    if len({run.budget for run in ended}) != 1:
        return  # none, or no steps in common to average over
    ends, _ = _curve(ended[0])
    curves = np.array([_curve(run)[1] for run in ended])
    windows = [statistics.mean_over_seeds(rates[~np.isnan(rates)]) for rates in curves.T]
    mean = np.array([window.mean for window in windows])
    half_width = np.array([window.half_width for window in windows])
    axes.plot(ends, mean, color=colour, **_points(mean))
    low, high = np.clip(mean - half_width, 0, 1), np.clip(mean + half_width, 0, 1)
    axes.fill_between(ends, low, high, color=colour, alpha=0.12, linewidth=0)


def _points(rates: NDArray[np.float64]) -> dict[str, Any]:
    """A dot for each window whose neighbours are empty, as no line reaches it."""
    known = np.pad(~np.isnan(rates), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    return {"marker": ".", "markersize": 3, "markevery": np.flatnonzero(alone).tolist()}


def _curve(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Window ends and success rates of a run, each of shape [CURVE_WINDOWS]."""
    return statistics.window_ends(run.budget, measures.CURVE_WINDOWS), measures.curve(run)


def _draw_paper_points(figure: Figure, axes: Axes, paper: PaperResults) -> None:
    own = {name: agent for agent, name in OWN_NAME.items()}
    agents = list(dict.fromkeys(point.agent for point in paper.curve_points))
    colours = agent_colours([own.get(agent, agent) for agent in agents])
    together: dict[tuple[CurvePoint, ...], list[str]] = {}
    for agent in agents:
        points = tuple(p for p in paper.curve_points if p.agent == agent)
        names = together.setdefault(tuple(replace(p, agent="") for p in points), [])
        # agents at the same point stand side by side
        place = offset_copy(axes.transData, figure, -5 * len(names), 0, "points")
        for point in points:
            axes.plot(
                [point.steps],
                [point.success_rate],
                color=colours[own.get(agent, agent)],
                marker="v" if point.relation == "below" else "o",
                markersize=4,
                fillstyle="none" if point.relation == "approaches" else "full",
                transform=place,
            )
        names.append(agent)
    limit = 1.05 * max(point.steps for point in paper.curve_points)
    thousands = EngFormatter(sep="")
    for points, names in together.items():
        known = [f"{p.relation} {p.success_rate:g} at {thousands(p.steps)}" for p in points]
        left = points[-1].steps < limit / 2
        axes.annotate(
            f"{', '.join(names)}: " + ",\n".join(known),
            (points[-1].steps, points[-1].success_rate),
            (5, 0) if left else (-1 - 5 * len(names), 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="top" if len(points) > 1 else "center",
        )
    axes.set_title(f"paper ({MODEL}): known points of its curves")
    _rate_axis(axes, "success rate")
    axes.set_xlim(0, limit)


def _rate_axis(axes: Axes, label: str) -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_ylabel(label)
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
