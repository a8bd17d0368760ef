"""Single integers as numpy draws them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.draws import single_integers


@given(
    st.integers(0, 2**32),
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 2**32 - 1)), max_size=700),
)
def test_they_are_numpys_and_the_generator_ends_up_in_the_same_place(seed, before, ranges) -> None:
    plain, ours = np.random.default_rng(seed), np.random.default_rng(seed)
    for generator in (plain, ours):  # an odd number leaves half a word over
        generator.integers(9, size=before)
    expected = [int(plain.integers(low, low + span)) for low, span in ranges]
    with single_integers(ours) as draws:
        assert [draws.integers(low, low + span) for low, span in ranges] == expected
    assert ours.bit_generator.state == plain.bit_generator.state


def test_more_words_than_are_drawn_at_once() -> None:
    """Three of ten products are rejected here."""
    plain, ours = np.random.default_rng(0), np.random.default_rng(0)
    expected = [plain.integers(0, 3_000_000_000) for _ in range(5_000)]
    with single_integers(ours) as draws:
        assert [draws.integers(0, 3_000_000_000) for _ in expected] == expected
    assert ours.bit_generator.state == plain.bit_generator.state


def test_an_empty_range_is_refused() -> None:
    plain, ours = np.random.default_rng(0), np.random.default_rng(0)
    with single_integers(ours) as draws:
        assert draws.integers(0, 6) == plain.integers(0, 6)
        with pytest.raises(ValueError, match=r"\[5, 5\)"):
            draws.integers(5, 5)
    assert ours.bit_generator.state == plain.bit_generator.state


def test_the_generator_is_left_there_when_a_level_fails() -> None:
    plain, ours = np.random.default_rng(0), np.random.default_rng(0)
    plain.integers(0, 6)

    def fail() -> None:
        with single_integers(ours) as draws:
            draws.integers(0, 6)
            raise RuntimeError("no place found")

    with pytest.raises(RuntimeError, match="no place"):
        fail()
    assert ours.bit_generator.state == plain.bit_generator.state
