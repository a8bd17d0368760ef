"""How figures look and how they are written: one colour per agent, the same bytes every time."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.style
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from bench.reporting.records import ENDED, MISSING, Records
from bench.reporting.setting import departures, profiles

STYLE = Path(__file__).with_name("glam.mplstyle")
COLUMN_WIDTH = 3.4
"""Width of a print column, in inches."""
_LEGEND_CHARACTERS = 52
_METADATA: Mapping[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

_AGENT_COLOURS: Mapping[str, str] = {
    # Okabe and Ito's colour-blind safe set for the agents most often drawn together
    "gflan-t5": "#0072B2",
    "npae-flan-t5": "#D55E00",
    "drrn": "#009E73",
    "symbolic-ppo": "#CC79A7",
    "flan-t5": "#56B4E9",
    "aflan-t5": "#E69F00",
    "random": "#777777",
    "bot": "#000000",
    "npa-flan-t5": "#882255",
    "npe-flan-t5": "#999933",
}
_FURTHER_COLOURS = ("#332288", "#AA4499", "#117733", "#CC6677", "#44AA99", "#661100", "#AA7744")


@contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib's defaults under the style file, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        matplotlib.style.use(STYLE)
        yield


def agent_colours(agents: Sequence[str]) -> dict[str, str]:
    """Colour of each agent: fixed for the known ones, by order of name for others.

    Args:
        agents: Names of agents.

    Returns:
        Hexadecimal RGB by agent.
    """
    others = sorted(set(agents) - set(_AGENT_COLOURS))
    further = {name: _FURTHER_COLOURS[i % len(_FURTHER_COLOURS)] for i, name in enumerate(others)}
    return {agent: _AGENT_COLOURS.get(agent) or further[agent] for agent in agents}


def lighten(colour: str, amount: float = 0.62) -> str:
    """Mix a colour with white; `amount` 0 leaves it, 1 is white."""
    red, green, blue = (channel + (1 - channel) * amount for channel in to_rgb(colour))
    return to_hex((red, green, blue))


def legend_columns(labels: Sequence[str]) -> int:
    """Columns of a legend as wide as a print column: two if any two labels fit side by side."""
    return 2 if sum(sorted(map(len, labels))[-2:]) <= _LEGEND_CHARACTERS and len(labels) > 1 else 1


def legend_height(labels: Sequence[str]) -> float:
    """Height of the legend that `legend_columns` lays out, in inches."""
    return 0.14 * math.ceil(len(labels) / legend_columns(labels))


def legend_label(records: Records, agent: str) -> str:
    """Display name of an agent, its seeds that ended, and what became of the others."""
    states = [run.state for run in records.of(agent)]
    ended = sum(state in ENDED for state in states)
    parts = [records.label(agent)]
    if ended:
        parts.append(f"{ended} seed{'' if ended == 1 else 's'}")
    for state in ("running", "failed", MISSING):
        if state in states:
            parts.append(f"{states.count(state)} {state}")
    return ", ".join(parts)


def figure_title(records: Records, what: str) -> str:
    """What is shown, at which profile, and whether that is the paper's setting."""
    warning = ", not the paper's setting" if departures(records) else ""
    return f"{what}, profile {profiles(records)}{warning}"


def render(figure: Figure) -> dict[str, bytes]:
    """Draw a figure as PNG, SVG and PDF, without dates or versions in any.

    Args:
        figure: A figure made and rendered under `figure_style`.

    Returns:
        File contents by ending.
    """
    if layout := figure.get_layout_engine():
        layout.execute(figure)
    figure.set_layout_engine("none")  # lay out once: all files show the same figure
    contents = {}
    for ending, metadata in _METADATA.items():
        file = io.BytesIO()
        figure.savefig(file, format=ending, metadata=metadata)
        contents[ending] = file.getvalue()
    return contents
