"""What goes on inside the agents while they learn: answers to the probes, losses, entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator
from numpy.typing import NDArray

from bench.probes import PROBES, Probe
from bench.reporting.figure_style import (
    COLUMN_WIDTH,
    agent_colours,
    figure_title,
    legend_columns,
    legend_height,
    legend_label,
)
from bench.reporting.measures import CURVE_WINDOWS
from bench.reporting.records import Records, Run
from envs import ENGLISH

_ACTION_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7")
LineStyle = Literal["-", "--", ":"]
_ACTION_STYLES: tuple[LineStyle, ...] = ("-", "--", "-", "-", "--", ":")
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class _Diagnostic:
    """A quantity that agents log under names of their own.

    Attributes:
        title: Its name in the figure.
        columns: Column of metrics.csv and the factor that makes it comparable.
        logarithmic: Whether it spans orders of magnitude.
    """

    title: str
    columns: Mapping[str, float]
    logarithmic: bool = False


_DIAGNOSTICS = (
    _Diagnostic("policy entropy (nats)", {"entropy": 1, "entropy_loss": -1}),
    _Diagnostic("value loss", {"value_loss": 1}, logarithmic=True),
    _Diagnostic("approximate KL", {"approximate_kl": 1, "approx_kl": 1}, logarithmic=True),
)


def probe_best_action(records: Records) -> Figure | None:
    """Probability of the best action on each probe over training, agent by agent."""
    agents = _probed(records)
    if not agents:
        return None
    labels = [legend_label(records, agent) for agent in agents]
    figure, panels = _probe_panels(records, "Probability of the best action", labels)
    colours = agent_colours(records.agents)
    for axes, probe in zip(panels, PROBES, strict=True):
        axes.set_title(f"{_question(probe)}\nbest: {ENGLISH.actions[probe.best]}")
        for agent in agents:
            curves = [_answers(run, probe, probe.best) for run in records.of(agent)]
            _draw(axes, [curve for curve in curves if curve], colours[agent])
    _legend(figure, labels, [colours[agent] for agent in agents], ["-"] * len(agents))
    return figure


def probe_actions(records: Records) -> Figure | None:
    """Probability of every action on each probe over training, for the first agent asked."""
    agents = _probed(records)
    if not agents:
        return None
    agent, runs = agents[0], records.of(agents[0])
    count = max(sum(f"p{i}" in run.probes for i in range(9)) for run in runs)
    phrases = ENGLISH.action_phrases(count)
    figure, panels = _probe_panels(records, records.label(agent), phrases)
    for axes, probe in zip(panels, PROBES, strict=True):
        axes.set_title(f"{_question(probe)}\nbest: {ENGLISH.actions[probe.best]}")
        for action in range(count):
            curves = [_answers(run, probe, action) for run in runs]
            colour = _ACTION_COLOURS[action % len(_ACTION_COLOURS)]
            style = _ACTION_STYLES[action % len(_ACTION_STYLES)]
            _draw(axes, [curve for curve in curves if curve], colour, style)
    cycle = range(count)
    _legend(
        figure,
        phrases,
        [_ACTION_COLOURS[i % len(_ACTION_COLOURS)] for i in cycle],
        [_ACTION_STYLES[i % len(_ACTION_STYLES)] for i in cycle],
    )
    return figure


def training_diagnostics(records: Records) -> Figure | None:
    """Entropy, value loss and KL over training, averaged in windows; thin lines are seeds."""
    drawn: dict[str, list[list[Curve]]] = {}
    for agent in records.agents:
        curves = [
            [c for c in (_logged(run, what) for run in records.of(agent)) if c]
            for what in _DIAGNOSTICS
        ]
        if any(curves):
            drawn[agent] = curves
    if not drawn:
        return None
    labels = [legend_label(records, agent) for agent in drawn]
    height = 1.15 * len(_DIAGNOSTICS) + 0.35 + legend_height(labels)
    figure = Figure(figsize=(COLUMN_WIDTH, height))
    colours = agent_colours(records.agents)
    panels = figure.subplots(len(_DIAGNOSTICS), 1, sharex=True)
    for index, (axes, what) in enumerate(zip(panels, _DIAGNOSTICS, strict=True)):
        for agent, curves in drawn.items():
            _draw(axes, curves[index], colours[agent])
        axes.set_title(what.title)
        if what.logarithmic and axes.lines:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(numticks=4))
            axes.yaxis.minorticks_off()
        elif axes.lines:
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # the largest entropy is no edge
    panels[-1].set_xlabel("environment steps")
    panels[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.suptitle(figure_title(records, "Training"), fontsize="medium")
    _legend(figure, labels, [colours[agent] for agent in drawn], ["-"] * len(drawn))
    return figure


def _probed(records: Records) -> list[str]:
    return [a for a in records.agents if any(not run.probes.empty for run in records.of(a))]


def _question(probe: Probe) -> str:
    seen = ", ".join(f"{colour} {kind}" for colour, kind, _, _ in probe.objects)
    return f"“{probe.goal}”\nin view: {seen}"


def _probe_panels(
    records: Records, what: str, labels: Sequence[str]
) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(COLUMN_WIDTH, 3.9 + legend_height(labels)))
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes in grid.flat:
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([0, 0.5, 1])
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in grid[:, 0]:
        axes.set_ylabel("probability")
    for axes in grid[-1]:
        axes.set_xlabel("environment steps")
    figure.suptitle(figure_title(records, what), fontsize="medium")
    return figure, list(grid.flat)


def _answers(run: Run, probe: Probe, action: int) -> Curve | None:
    rows = run.probes[run.probes["probe"] == probe.name]
    if rows.empty or f"p{action}" not in rows:
        return None
    return rows["steps"].to_numpy(np.float64), rows[f"p{action}"].to_numpy(np.float64)


def _logged(run: Run, what: _Diagnostic) -> Curve | None:
    """A metric of a run, averaged in the windows of the learning curve."""
    for column, factor in what.columns.items():
        if column in run.metrics and len(run.metrics) and run.budget:
            window = np.ceil(run.metrics["steps"] * CURVE_WINDOWS / run.budget)
            means = (run.metrics[column] * factor).groupby(window).mean()
            return means.index.to_numpy(np.float64) * run.budget / CURVE_WINDOWS, means.to_numpy()
    return None


def _draw(axes: Axes, curves: Sequence[Curve], colour: str, style: LineStyle = "-") -> None:
    """Seeds as thin lines, and their mean where all have the same points."""
    alone = len(curves) == 1
    for steps, values in curves:
        width, alpha = (1.2, 1.0) if alone else (0.4, 0.5)
        axes.plot(steps, values, color=colour, linewidth=width, alpha=alpha, linestyle=style)
    if not alone and curves and all(np.array_equal(curves[0][0], c[0]) for c in curves):
        mean = np.mean([values for _, values in curves], axis=0)
        axes.plot(curves[0][0], mean, color=colour, linewidth=1.2, linestyle=style)


def _legend(
    figure: Figure, labels: Sequence[str], colours: Sequence[str], styles: Sequence[LineStyle]
) -> None:
    handles = [
        Line2D([], [], color=colour, linewidth=1.2, linestyle=style)
        for colour, style in zip(colours, styles, strict=True)
    ]
    figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(list(labels)))
