"""What fits on a small GPU by the plan, and the plan's memory against a real process's.

Usage: python tests/benchmarks/memory.py

Writes results/plan/memory.csv and memory_check.csv, and their tables in docs/scale.md. Give it a
limit (`ulimit -v`) of 20 GB: an update is made with a whole model of Flan-T5-large's dimensions.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from summary import table
from transformers import PreTrainedTokenizerFast, T5Config

from agents.miniflan.architecture import MINIFLAN_FOLDER
from agents.registry import find
from bench.config import RunConfig
from bench.lifecycle import build_agent
from bench.planning.gpus import Gpu, gpus
from bench.planning.random_play import play_at_random
from bench.profile import load_profile
from bench.reporting.marked_block import replace_block
from bench.storage import atomic
from bench.storage.row_file import Value, format_rows
from bench.validation import validated
from envs import VectorEnv

ROOT = Path(__file__).parents[2]
PAGE, KEPT = ROOT / "docs" / "scale.md", ROOT / "results" / "plan"
FEWER = "agent.max_batch_tokens=2048"
AGAIN = "agent.activation_checkpointing=true"
CHOICES = (
    (),
    (FEWER,),
    (FEWER, AGAIN),
    ("agent.max_batch_tokens=512", AGAIN),
    (FEWER, "agent.lora_rank=16"),
    (FEWER, "agent.lora_rank=16", AGAIN),
)
SMALL, LARGE = "google/flan-t5-small", "google/flan-t5-large"
CHECKED = ((SMALL, ()), (SMALL, (FEWER,)), (SMALL, (FEWER, AGAIN)), (LARGE, (FEWER, AGAIN)))
TABLES = {
    "memory": ("model", "--set", "float32 GB", "bfloat16 GB", "smallest GPU by the plan"),
    "memory_check": ("model", "--set", "planned GB", "process GB", "planned over process"),
}


def run_of(model: str, choice: Sequence[str], *more: str) -> RunConfig:
    """GFlan-T5's run in the paper's setting, with some options changed."""
    pairs = (f"agent.model={model}", *choice, *more)
    pairs = tuple(pair.replace("agent.", "agents.gflan-t5.") for pair in pairs)
    (config,) = load_profile("paper", pairs, ("gflan-t5",)).runs([0])
    return replace(config, device="cpu")


def planned(config: RunConfig, device: str) -> dict[str, float]:
    """GB of the worst moment of an update on a device, by precision."""
    agent_class = find(config.entry).load()
    options: Any = validated(agent_class.Config, config.agent_options, config.agent)
    cost = agent_class.cost(options, config.environment.n_actions)
    assert cost is not None
    rounds = play_at_random(
        replace(config, evaluation=replace(config.evaluation, splits=()))
    ).rounds
    lengths = cost.lengths([seen.prompt() for now in rounds for seen in now])
    batches = np.random.default_rng(0).choice(lengths, (8, options.batch_size)).tolist()
    phrases = rounds[0][0].action_phrases
    return {
        p: cost.memory(batches, phrases, device, p).total / 1e9 for p in ("float32", "bfloat16")
    }


def choices() -> list[list[Value]]:
    """What each choice of options needs."""
    rows: list[list[Value]] = []
    for choice in CHOICES:
        size = planned(run_of(LARGE, choice), "cuda")
        gc.collect()
        least = [
            f"{min(holding):.0f} GB ({precision})"
            for precision, needed in size.items()
            if (holding := [g.memory_gb for g in gpus() if holds(g, precision, needed)])
        ]
        row: list[Value] = [LARGE, " ".join(choice) or "(defaults)"]
        row += [round(value, 1) for value in size.values()]
        rows.append([*row, ", ".join(least) or "none"])
        print(rows[-1], flush=True)
    return rows


def holds(gpu: Gpu, precision: str, gigabytes: float) -> bool:
    """Whether a GPU computes in the precision and has the memory, with a tenth to spare."""
    return precision in gpu.peaks and gpu.holds(gigabytes * 1e9)


def check() -> list[list[Value]]:
    """The plan beside a process that makes one update with a model of such dimensions."""
    table = json.loads((ROOT / "agents/language_model/planning/published.json").read_text())
    rows: list[list[Value]] = []
    with tempfile.TemporaryDirectory() as folder:
        PreTrainedTokenizerFast.from_pretrained(MINIFLAN_FOLDER).save_pretrained(folder)
        for model, choice in CHECKED:
            T5Config(**table["shared"], **table["models"][model]).save_pretrained(folder)
            size = planned(run_of(folder, choice, "agent.pretrained=false"), "cpu")["float32"]
            command = [sys.executable, __file__, folder, *choice]
            shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            held = float(shown.split()[-1])
            row: list[Value] = [f"{model}'s dimensions", " ".join(choice) or "(defaults)"]
            rows.append([*row, round(size, 2), round(held, 2), round(size / held, 2)])
            print(rows[-1], flush=True)
    return rows


def update_once(folder: str, choice: Sequence[str]) -> None:
    """Prints by how many GB this process grew at most, from before the agent was built."""
    # Two minibatches, as Adam's moments are there from the second on.
    few = ("agent.rollout_length=2", "agent.epochs=2", "train.n_envs=32", "threads=1")
    config = run_of(folder, choice, "agent.pretrained=false", *few)
    find(config.entry).load()  # the libraries are not the model
    envs = VectorEnv(config.environment.build, config.train.n_envs, config.seed)
    rng = np.random.default_rng(0)
    for _ in range(12):  # prompts with all their views
        envs.step(rng.integers(0, config.environment.n_actions, envs.n_envs))
    before = resident("VmRSS")
    agent = build_agent(config)
    agent.update(envs)
    print(resident("VmHWM") - before)


def resident(kind: str) -> float:
    """GB of this process: now (``VmRSS``) or at most so far (``VmHWM``).

    Unlike getrusage's, the latter knows nothing of the process this one was forked from.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024 / 1e9


def main() -> None:
    """Makes both tables."""
    KEPT.mkdir(exist_ok=True)
    for name, rows in (("memory_check", check()), ("memory", choices())):
        atomic.write_text(KEPT / f"{name}.csv", format_rows([TABLES[name], *rows]))
        shown = "\n".join(table(TABLES[name], rows, words=2))
        begin = f"<!-- {name}: made by tests/benchmarks/memory.py, do not edit -->"
        end = f"<!-- end of {name} -->"
        replace_block(PAGE, begin, end, f"{begin}\n\n{shown}\n\n{end}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        update_once(sys.argv[1], sys.argv[2:])
    else:
        main()
