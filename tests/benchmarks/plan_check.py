"""Sets the plan's times against those of recorded runs of the same profile on the same machine.

Usage: python tests/benchmarks/plan_check.py results/laptop

Writes results/plan/<profile>.csv and the block of docs/scale.md. Plan it under the load that the
runs had: two of them ran side by side, so keep one core busy meanwhile.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

from bench import atomic
from bench.headline import replace_block
from bench.plan import machine_line, plan_profile
from bench.profile import load_profile
from bench.records import read_records
from bench.row_file import format_rows

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- plan check: made by plan_check.py, do not edit -->", "<!-- end of plan check -->"
COLUMNS = ("agent", "part", "planned_seconds", "measured_seconds", "planned_over_measured", "runs")
AGENTS = ("gflan-t5", "drrn", "symbolic-ppo")


def main(directory: Path) -> None:
    """Plans each agent, and compares training and tests with the median run's."""
    records = read_records(directory)
    name = directory.name
    rows: list[tuple[str | int | float, ...]] = []
    for plan in plan_profile(load_profile(name, (), AGENTS)):
        runs = [run for run in records.of(plan.agent) if run.state == "complete"]
        for part, key in (("training", "train"), ("tests", "evaluate")):
            measured = median(run.manifest["wall_seconds"][key] for run in runs)
            planned = plan.seconds[part]
            ratio = round(planned / measured, 2)
            rows.append((plan.agent, part, round(planned), round(measured), ratio, len(runs)))
    text = format_rows([COLUMNS, *rows])
    path = ROOT / "results" / "plan" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    atomic.write_text(path, text)
    lines = [f"| {' | '.join(map(str, row))} |" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows)]
    table = "\n".join(lines)
    note = f"{machine_line('cpu')}; median of the recorded runs of `{name}`, two side by side."
    replace_block(PAGE, BEGIN, END, f"{BEGIN}\n\n{note}\n\n{table}\n\n{END}")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
