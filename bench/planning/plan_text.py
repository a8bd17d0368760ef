"""A plan as text: for the terminal, and for the marked block of a README."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.planning.gpus import EFFICIENCY, LAUNCH_SECONDS, USABLE, gpus
from bench.planning.plan import AgentPlan, machine_line
from bench.reporting.marked_block import replace_block

BEGIN = "<!-- plan: made by `glam plan --readme`, do not edit -->"
END = "<!-- end of plan -->"

_GB = 1e9
_UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def print_plan(
    name: str, plans: Sequence[AgentPlan], device: str, console: Console, command: str
) -> None:
    """Shows a plan.

    Args:
        name: Name of the profile.
        plans: One for each agent.
        device: The device of this machine that hours are for.
        console: Where it is shown.
        command: The command that made it.
    """
    console.print(f"$ {command}")
    console.print(f"Profile {name}; every row is one run, from one seed.\n")
    console.print(_work_table(plans))
    if any("total" in sizes for plan in plans for sizes in plan.memory.values()):
        console.print(_memory_table(plans))
    console.print(_hours_table(plans))
    for line in _remarks(plans, device):
        console.print(f"- {line}")


def write_plan(shown: str, document: Path) -> None:
    """Puts a printed plan between its marks in a document.

    Args:
        shown: The text.
        document: A Markdown file.

    Raises:
        RecordError: If the marks are not there, once each and in order.
    """
    replace_block(document, BEGIN, END, f"{BEGIN}\n\n```text\n{shown}\n```\n\n{END}")


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _work_table(plans: Sequence[AgentPlan]) -> Table:
    columns = ["agent", "seeds", "steps", "updates", "test steps"]
    columns += ["rollout tokens", "update tokens", "test tokens", "FLOPs"]
    table = _table("Work (tokens of prompts + of actions)", columns)
    for plan in plans:
        read = []
        for part in ("rollouts", "updates", "tests"):
            prompts = plan.tokens.get(f"{part}: prompts")
            actions = plan.tokens.get(f"{part}: actions", 0.0)
            read.append("—" if prompts is None else f"{_short(prompts)} + {_short(actions)}")
        table.add_row(
            plan.agent,
            str(plan.runs),
            f"{plan.steps:,}",
            f"{plan.updates:,}",
            f"{plan.test_steps:,}",
            *read,
            _short(sum(plan.flops.values())) if plan.flops else "—",
        )
    return table


def _memory_table(plans: Sequence[AgentPlan]) -> Table:
    table = _table(
        "Memory per device, GB",
        ("agent", "precision", "weights", "gradients", "Adam", "activations", "total", "fits"),
    )
    for plan in plans:
        for precision, sizes in plan.memory.items():
            if "total" not in sizes:
                continue
            parts = (sizes[part] / _GB for part in ("weights", "gradients", "optimizer"))
            fitting = [
                gpu.name for gpu in gpus() if gpu.holds(sizes["total"]) and precision in gpu.peaks
            ]
            table.add_row(
                plan.agent,
                precision,
                *(f"{part:.2f}" for part in parts),
                f"{sizes['activations'] / _GB:.2f}",
                f"{sizes['total'] / _GB:.2f}",
                _fitting(fitting),
            )
    return table


def _hours_table(plans: Sequence[AgentPlan]) -> Table:
    table = _table(
        "Hours of one run: here, and on one GPU in float32 / bfloat16",
        ("agent", "here", *(gpu.name for gpu in gpus())),
    )
    total = dict.fromkeys(("here", *(gpu.name for gpu in gpus())), 0.0)
    for plan in plans:
        cells = [_hours(plan.hours * 3600)]
        total["here"] += plan.hours * 3600 * plan.runs
        for name, by_precision in plan.gpu_seconds.items():
            exact, fast = by_precision["float32"], by_precision["bfloat16"]
            known = plan.parameters is not None
            cells.append(f"{_hours(exact)} / {_hours(fast)}" if known else "—")
            total[name] += (exact or 0.0) * plan.runs
        table.add_row(plan.agent, *cells)
    table.add_section()
    table.add_row("all seeds, in float32", *map(_hours, total.values()))
    return table


def _remarks(plans: Sequence[AgentPlan], device: str) -> list[str]:
    tried = _named(plans, "trial")
    lines = [f"here: {machine_line(device)}; a short real training and test of: {tried}"]
    reckoned = [plan for plan in plans if plan.timed_by == "flops"]
    if reckoned:
        shares = ", ".join(f"{p.agent} {p.efficiency:.0%}" for p in reckoned if p.efficiency)
        lines.append(
            "here by FLOPs and the measured speed of two layers of the same width with random "
            f"weights (share of a float32 matrix product's speed): {shares}"
        )
    unmeasured = " Not measured: no GPU here." if device == "cpu" else ""
    lines.append(
        f"GPUs: published dense peaks at an assumed {EFFICIENCY['float32']:.0%} in float32 and "
        f"{EFFICIENCY['bfloat16']:.0%} in bfloat16, at least {LAUNCH_SECONDS * 1e6:.0f} µs an "
        f"operation, plus this machine's time for the environments.{unmeasured}"
    )
    lines.append(
        "test steps: episodes as long as Random's on these levels, an upper value for an agent "
        "that learns"
    )
    lines.append(f"fits: on one GPU with {1 - USABLE:.0%} of its memory to spare")
    others = [plan.agent for plan in plans if plan.parameters is None]
    if others:
        lines.append(f"all seeds on a GPU: without {', '.join(others)}")
    saved = [p for p in plans if "saved" in p.memory.get("float32", {})]
    if saved:
        sizes = ", ".join(f"{p.agent} {p.memory['float32']['saved'] / _GB:.2f} GB" for p in saved)
        lines.append(f"weights, optimiser and replay at the end of training: {sizes}")
    lines += dict.fromkeys(note for plan in plans for note in plan.notes)
    return lines


def _named(plans: Sequence[AgentPlan], timed_by: str) -> str:
    return ", ".join(plan.agent for plan in plans if plan.timed_by == timed_by) or "none"


def _fitting(names: Sequence[str]) -> str:
    if len(names) == len(gpus()):
        return "all"
    return ", ".join(re.sub(r" (SXM )?\d+GB$", "", name) for name in names) or "none"


def _short(number: float) -> str:
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _hours(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}" if hours >= 0.01 else "<.01"
