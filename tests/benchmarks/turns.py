"""Ways of doing the same take turns: how every cell of `make bench` is measured.

A machine that slows down slows down all of them, so ratios are medians of the rounds' own ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

SECONDS = 4.0
"""What a cell may take; a slow one is still measured in a few rounds."""
WARM_UP = 2
"""Rounds not counted: until what one way frees fits what the next needs, memory is new."""
FEWEST_ROUNDS = 5
MAX_ROUNDS = 9

Way = Callable[[], float]
"""Does the work once and returns the seconds it took."""


def seconds(work: Callable[[], object]) -> float:
    """Processor time, which is wall time on an idle machine as all runs in one thread."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(benchmark, ways: Mapping[str, Way], **described: object) -> None:
    """Lets the ways take turns; the first is the one the others are divided by."""
    samples: dict[str, list[float]] = {name: [] for name in ways}

    def take_turns() -> None:
        for name, way in ways.items():
            samples[name].append(way())

    for _ in range(WARM_UP):
        started = time.perf_counter()
        take_turns()
    rounds = int(np.clip(SECONDS / (time.perf_counter() - started), FEWEST_ROUNDS, MAX_ROUNDS))
    for taken in samples.values():
        taken.clear()
    benchmark.pedantic(take_turns, rounds=rounds)
    first = np.array(next(iter(samples.values())))
    found = {}
    for name, taken in samples.items():
        low, middle, high = np.percentile(taken, [25, 50, 75])
        ratio = float(np.median(np.array(taken) / first))
        found[name] = {"seconds": middle, "iqr": high - low, "rounds": rounds, "ratio": ratio}
    benchmark.extra_info.update(described, ways=found)
