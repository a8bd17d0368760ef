"""Every figure of a report, drawn from records and the paper's published numbers."""

from __future__ import annotations

from bench.reporting.bar_figures import generalisation, paper_generalisation, success_by_task_kind
from bench.reporting.curve_figure import q1_learning_curves
from bench.reporting.figure_style import figure_style, render
from bench.reporting.learning_figures import (
    probe_actions,
    probe_best_action,
    training_diagnostics,
)
from bench.reporting.paper import PaperResults
from bench.reporting.records import Records

CAPTIONS = {
    "q1_learning_curves": (
        "Success rate of training episodes against environment steps. Thin: seeds (dotted up to a "
        "cross: a run that did not end); bold: their mean; band: 95% t interval; dashed: agents "
        "that do not learn, on the test episodes. What ends in the first steps is short, and so "
        "solved more often than what follows. Below: the paper's known points."
    ),
    "q2_q3_generalisation": (
        "Light bar: success on the reference named in each panel; dark bar: success on the split; "
        "on top the relative change. Points: seeds; lines: 95% t intervals, cut at 0 and 1."
    ),
    "q2_q3_generalisation_paper": "The paper's numbers in the same layout.",
    "success_by_task_kind": "Success on the train tasks' test episodes by task kind.",
    "probe_best_action": (
        "Four fixed prompts over training: the probability of the action that is best there. The "
        "lower two show one view under two goals. Thin: seeds; bold: their mean."
    ),
    "probe_actions": (
        "The same prompts, every action, for the first agent. Thin: seeds; bold: their mean."
    ),
    "training_diagnostics": (
        "What the agents log while they learn, averaged in windows of 5% of the steps. Value "
        "losses are in each agent's own scale of rewards. Thin: seeds; bold: their mean."
    ),
}


def all_figures(records: Records, paper: PaperResults) -> dict[str, dict[str, bytes]]:
    """Draw every figure.

    Args:
        records: What was measured.
        paper: What was published.

    Returns:
        File contents by figure name and ending ("png", "svg", "pdf"); the same bytes for the same
        rows. A figure that nothing was recorded for is left out.
    """
    with figure_style():
        figures = {
            "q1_learning_curves": q1_learning_curves(records, paper),
            "q2_q3_generalisation": generalisation(records),
            "q2_q3_generalisation_paper": paper_generalisation(paper),
            "success_by_task_kind": success_by_task_kind(records),
            "probe_best_action": probe_best_action(records),
            "probe_actions": probe_actions(records),
            "training_diagnostics": training_diagnostics(records),
        }
        return {name: render(figure) for name, figure in figures.items() if figure is not None}
