"""Every figure of a report, drawn from records and the paper's published numbers."""

from __future__ import annotations

from bench.bar_figures import generalisation, paper_generalisation, success_by_task_kind
from bench.curve_figure import q1_learning_curves
from bench.figure_style import figure_style, render
from bench.paper import PaperResults
from bench.records import Records


def all_figures(records: Records, paper: PaperResults) -> dict[str, dict[str, bytes]]:
    """Draw every figure.

    Args:
        records: What was measured.
        paper: What was published.

    Returns:
        File contents by figure name and ending ("png", "svg"); the same bytes for the same rows.
    """
    with figure_style():
        figures = {
            "q1_learning_curves": q1_learning_curves(records, paper),
            "q2_q3_generalisation": generalisation(records),
            "q2_q3_generalisation_paper": paper_generalisation(paper),
            "success_by_task_kind": success_by_task_kind(records),
        }
        return {name: render(figure) for name, figure in figures.items()}
