"""Sets the plan's times against those of real runs, made right after it on the same machine.

Usage: python tests/benchmarks/plan_check.py

Writes results/plan/check.csv and its table in docs/scale.md. Takes ten minutes; what else runs on
the machine should be the same throughout.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from summary import table

from bench.commands.plan import SECONDS
from bench.launching.executors import PlannedRun
from bench.launching.reproduce import reproduce, train_command
from bench.planning.plan import machine_line, plan_profile
from bench.profile import load_profile
from bench.reporting.marked_block import replace_block
from bench.reporting.records import read_records
from bench.storage import atomic
from bench.storage.row_file import Value, format_rows

ROOT = Path(__file__).parents[2]
PAGE, KEPT = ROOT / "docs" / "scale.md", ROOT / "results" / "plan" / "check.csv"
BEGIN, END = "<!-- plan check: made by plan_check.py, do not edit -->", "<!-- end of plan check -->"
COLUMNS = ("agent", "part", "planned seconds", "measured seconds", "planned over measured")
AGENTS = ("gflan-t5", "drrn", "symbolic-ppo")
SHORTER = ("train.steps=15360", "evaluation.episodes=50", "evaluation.splits=[train,french-goto]")


def main() -> None:
    """Plans each agent, trains and tests it, and compares."""
    profile = load_profile("laptop", SHORTER, AGENTS)
    plans = {plan.agent: plan for plan in plan_profile(profile, SECONDS)}
    rows: list[tuple[Value, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        command = train_command("laptop", SHORTER, Path(folder))
        for config in profile.runs([0]):
            # One after the other: side by side they would take each other's time.
            run = PlannedRun(config, Path(folder), command(config))
            reproduce([run], Console(file=sys.stderr), jobs=1)
        records = read_records(Path(folder) / profile.name)
        for name, plan in plans.items():
            (done,) = records.of(name)
            for part, key in (("training", "train"), ("tests", "evaluate")):
                planned, measured = plan.seconds[part], done.manifest["wall_seconds"][key]
                rows.append(
                    (name, part, round(planned), round(measured), round(planned / measured, 2))
                )
    KEPT.parent.mkdir(exist_ok=True)
    atomic.write_text(KEPT, format_rows([COLUMNS, *rows]))
    lines = table(COLUMNS, rows, words=2)
    note = f"{machine_line('cpu')}; profile `laptop` with {', '.join(SHORTER)}; one run an agent."
    replace_block(PAGE, BEGIN, END, "\n".join([BEGIN, "", note, "", *lines, "", END]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
