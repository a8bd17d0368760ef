"""Integers from numpy's generators, one at a time, without numpy's cost for a single one.

MiniGrid places every object by drawing cells until one fits: with the other draws some two hundred
integers a level, and numpy takes some 2 µs for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from operator import length_hint

import numpy as np

_BITS = 32
_WORD = 2**_BITS
_AT_ONCE = 256
"""Words drawn at once; enough for four out of five levels."""


class SingleIntegers:
    """Stands in for a generator whose ``integers`` is asked for single values."""

    def __init__(self, next_word: Callable[[], int]) -> None:
        """Takes its randomness from uniform 32-bit words."""
        self._next_word = next_word

    def integers(self, low: int, high: int) -> int:
        """The integer in [low, high) that ``numpy.random.Generator.integers`` would draw.

        Raises:
            ValueError: If there is none, or there are more than 2^32 − 1.
        """
        span = high - low
        if not 0 < span < _WORD:
            raise ValueError(f"cannot draw from [{low}, {high})")
        if span == 1:
            return low
        # Lemire 2019: the upper half of the product, unless some values would come too often.
        product = self._next_word() * span
        if product & (_WORD - 1) < span:
            too_often = _WORD % span
            while product & (_WORD - 1) < too_often:
                product = self._next_word() * span
        return low + (product >> _BITS)


@contextmanager
def single_integers(generator: np.random.Generator) -> Iterator[SingleIntegers]:
    """Draws single integers from a generator that must not be used otherwise meanwhile.

    Args:
        generator: Afterwards it is where drawing them from itself would have left it.

    Yields:
        What to draw from.
    """
    before = generator.bit_generator.state
    drawn: list[Iterator[int]] = []

    def draw() -> Iterator[int]:
        words = generator.integers(_WORD, size=_AT_ONCE, dtype=np.uint32)
        drawn.append(iter(words.tolist()))
        return drawn[-1]

    try:
        yield SingleIntegers(chain.from_iterable(iter(draw, None)).__next__)
    finally:
        used = sum(_AT_ONCE - length_hint(words) for words in drawn)
        generator.bit_generator.state = before
        generator.integers(_WORD, size=used, dtype=np.uint32)
