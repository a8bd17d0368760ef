"""The replay buffer: what it keeps, how it draws, and that a file brings it back whole."""

from pathlib import Path

import numpy as np
import pytest

from agents.replay_buffer import ReplayBuffer


def text(number: int) -> bytes:
    return np.arange(number % 4 + 1, dtype="<u2").tobytes() + np.uint16(number).tobytes()


def filled(capacity: int, count: int) -> ReplayBuffer:
    replay = ReplayBuffer(capacity)
    before = text(0)
    for i in range(count):
        after = text(i + 1)
        replay.add(before, i % 6, i / 2, after, i % 5 == 0)
        before = after
    return replay


def contents(replay: ReplayBuffer) -> set[tuple[bytes, int, float, bytes, bool]]:
    everything = replay.sample(len(replay), np.random.default_rng(0))
    return set(
        zip(
            everything.states,
            everything.actions.tolist(),
            everything.rewards.tolist(),
            everything.next_states,
            everything.terminal.tolist(),
            strict=True,
        )
    )


def test_the_oldest_transitions_make_room() -> None:
    replay = filled(capacity=10, count=23)
    assert len(replay) == 10
    kept = {(text(i), i % 6, i / 2, text(i + 1), i % 5 == 0) for i in range(13, 23)}
    assert contents(replay) == kept


def test_draws_are_without_repetition_and_follow_the_generator() -> None:
    replay = filled(capacity=100, count=50)
    batches = [replay.sample(20, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert len(set(batches[0].rewards.tolist())) == 20
    assert batches[0].rewards.tolist() == batches[1].rewards.tolist()
    assert batches[0].rewards.tolist() != batches[2].rewards.tolist()
    assert len(replay.sample(64, np.random.default_rng(0)).rewards) == 50


def test_every_transition_is_drawn_as_often_as_the_others() -> None:
    replay, rng = filled(capacity=10, count=10), np.random.default_rng(0)
    drawn = np.concatenate([replay.sample(2, rng).rewards for _ in range(5000)])
    _, counts = np.unique(drawn, return_counts=True)
    assert len(counts) == 10
    assert np.abs(counts - 1000).max() < 150  # five standard deviations


def test_saved_and_loaded_it_goes_on_as_before(tmp_path: Path) -> None:
    replay = filled(capacity=10, count=13)
    replay.save(tmp_path / "a")
    loaded = ReplayBuffer(10)
    loaded.load(tmp_path / "a")
    assert contents(loaded) == contents(replay)
    for one in (replay, loaded):
        one.add(text(100), 1, 7.5, text(101), True)
    assert contents(loaded) == contents(replay)
    replay.save(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_text_between_two_transitions_is_written_once(tmp_path: Path) -> None:
    shared, apart = ReplayBuffer(1000), ReplayBuffer(1000)
    texts = [bytes(200) + np.uint16(i).tobytes() for i in range(101)]
    for i in range(100):
        shared.add(texts[i], 0, 0.0, texts[i + 1], False)
        apart.add(texts[i], 0, 0.0, bytes(bytearray(texts[i + 1])), False)
    shared.save(tmp_path / "shared")
    apart.save(tmp_path / "apart")
    sizes = [(tmp_path / name).stat().st_size for name in ("shared", "apart")]
    assert sizes[0] < 0.6 * sizes[1]


def test_an_empty_replay_can_be_saved_but_not_drawn_from(tmp_path: Path) -> None:
    replay = ReplayBuffer(5)
    replay.save(tmp_path / "empty")
    loaded = filled(5, 3)
    loaded.load(tmp_path / "empty")
    assert len(loaded) == 0
    with pytest.raises(ValueError, match="empty"):
        loaded.sample(1, np.random.default_rng(0))


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    filled(10, 10).save(tmp_path / "ten")
    with pytest.raises(ValueError, match="capacity of 9"):
        ReplayBuffer(9).load(tmp_path / "ten")
    with pytest.raises(ValueError, match="at least 1"):
        ReplayBuffer(0)
