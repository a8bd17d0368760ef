"""Integers from numpy's generators, one at a time, without numpy's cost for a single one.

MiniGrid places every object by drawing cells until one fits: some two hundred integers a level, for
each of which numpy takes longer than MiniGrid does for what it tries with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np

_WORD = 2**32
_AT_ONCE = 256
"""Words drawn at once; about what a level needs."""


class SingleIntegers:
    """Stands in for a generator whose ``integers`` is asked for single values.

    Attributes:
        used: Words taken from the generator's stream so far.
    """

    def __init__(self, words: Iterator[int]) -> None:
        """Takes its randomness from uniform 32-bit ``words``."""
        self.used = 0
        self._words = words

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
        product = self._next() * span
        if product % _WORD < span:
            too_often = _WORD % span
            while product % _WORD < too_often:
                product = self._next() * span
        return low + product // _WORD

    def _next(self) -> int:
        self.used += 1
        return next(self._words)


@contextmanager
def single_integers(generator: np.random.Generator) -> Iterator[SingleIntegers]:
    """Draws single integers from a generator that must not be used otherwise meanwhile.

    Args:
        generator: Afterwards it is where drawing them from itself would have left it.

    Yields:
        What to draw from.
    """
    before = generator.bit_generator.state

    def draw(count: int) -> list[int]:
        words: list[int] = generator.integers(_WORD, size=count, dtype=np.uint32).tolist()
        return words

    draws = SingleIntegers(chain.from_iterable(map(draw, iter(lambda: _AT_ONCE, 0))))
    try:
        yield draws
    finally:
        generator.bit_generator.state = before
        draw(draws.used)
