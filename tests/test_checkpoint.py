"""A checkpoint is whole or passed over, and the whole one before it is kept."""

import json
import shutil
from pathlib import Path

import pytest
from run_files import TABULAR, result_bytes, run_in_process, small_config

from bench.config import TrainConfig
from bench.storage.checkpoint import CheckpointError, CheckpointStore
from bench.storage.run import RunDirectory, RunFailed


def save_number(number):
    return lambda directory: (directory / "weights").write_text(str(number))


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoint")
    for steps in (9, 10, 11):
        store.save(steps, {"n": steps}, save_number(steps))
    return store


def saved(store):
    return sorted(path.name for path in store.directory.iterdir())


def test_checkpoints_keep_the_newest_and_the_one_before(store):
    assert saved(store) == ["steps-10", "steps-11"]
    latest = store.latest()
    assert (latest.steps, latest.state) == (11, {"n": 11})
    assert (latest.agent_directory / "weights").read_text() == "11"
    store.keep_newest()
    assert saved(store) == ["steps-11"]


@pytest.mark.parametrize("name", ["agent/weights", "state.json", "checksums.json"])
@pytest.mark.parametrize("damage", ["alter", "truncate", "remove"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(store, caplog, name, damage):
    file = store.directory / "steps-11" / name
    if damage == "remove":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[:-1] + b"?" if damage == "alter" else content[: len(content) // 2])
    assert store.latest().steps == 10
    assert "steps-11 is damaged" in caplog.text


def test_an_added_file_is_damage(store, caplog):
    (store.directory / "steps-11" / "agent" / "extra").write_text("")
    assert store.latest().steps == 10
    assert "extra" in caplog.text


def test_without_a_whole_checkpoint_there_is_no_going_on(store):
    for directory in store.directory.iterdir():
        (directory / "checksums.json").unlink()
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        store.latest()


def test_a_failed_save_keeps_what_was_there(store):
    def fails(directory):
        (directory / "weights").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.save(12, {}, fails)
    assert saved(store) == ["steps-10", "steps-11"]
    assert store.latest().steps == 11


def test_what_a_killed_save_left_is_not_a_checkpoint(store):
    (store.directory / ".writing" / "agent").mkdir(parents=True)
    assert store.latest().steps == 11
    store.save(12, {}, save_number(12))
    assert saved(store) == ["steps-11", "steps-12"]


def test_a_damaged_checkpoint_is_replaced_when_its_steps_come_again(store):
    (store.directory / "steps-11" / "state.json").write_text("")
    store.save(11, {"n": 11}, save_number(11))
    assert store.latest().steps == 11


def test_a_damaged_one_is_never_kept_in_place_of_a_whole_one(store):
    """A run that stopped at 13 and fell back to 11 saves at 12 next."""
    store.save(13, {"n": 13}, save_number(13))
    (store.directory / "steps-13" / "state.json").write_text("")
    again = CheckpointStore(store.directory)
    assert again.latest().steps == 11
    again.save(12, {"n": 12}, save_number(12))
    assert saved(again) == ["steps-11", "steps-12"]


def test_a_checkpoint_under_another_name_is_damage(store, caplog):
    path = store.directory / "steps-11" / "checksums.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "steps": 99}))
    assert store.latest().steps == 10
    assert "saved after 99 steps" in caplog.text


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that failed with two checkpoints kept, its mended config, and the bytes of a whole."""
    out = tmp_path_factory.mktemp("stopped")
    plugin = out / "plugin.py"
    text = Path(TABULAR.rpartition(":")[0]).read_text(encoding="utf-8")
    update = "def update(self, envs):\n"
    plugin.write_text(text.replace(update, f"{update}        1 / (192 - envs.steps)\n"))
    config = small_config(
        f"{plugin}:Tabular",
        agent_options=small_config().agent_options,
        train=TrainConfig(steps=256, n_envs=4, checkpoint_every=64),
    )
    with pytest.raises(RunFailed, match="update 4: ZeroDivisionError"):
        run_in_process(config, out)
    plugin.write_text(text)
    return out, config, result_bytes(run_in_process(config, out / "whole").path)


@pytest.mark.parametrize(
    "name", ["agent/table.npy", "agent/rng.json", "state.json", "checksums.json"]
)
def test_a_run_falls_back_to_the_checkpoint_before_and_ends_with_the_same_bytes(
    stopped, tmp_path, name
):
    out, config, expected = stopped
    shutil.copytree(out / "small", tmp_path / "small")
    run = RunDirectory.of(tmp_path, config)
    assert saved(run.checkpoints) == ["steps-128", "steps-192"]
    file = run.checkpoints.directory / "steps-192" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)
    assert result_bytes(run_in_process(config, tmp_path).path) == expected
    assert "steps-192 is damaged" in run.log.read_text()


def test_with_both_checkpoints_damaged_the_run_says_so_and_keeps_its_rows(stopped, tmp_path):
    out, config, _ = stopped
    shutil.copytree(out / "small", tmp_path / "small")
    run = RunDirectory.of(tmp_path, config)
    for file in run.checkpoints.directory.glob("*/state.json"):
        file.unlink()
    rows = run.metrics.path.read_bytes()
    with pytest.raises(RunFailed, match=r"no whole checkpoint is left.*--force-new") as error:
        run_in_process(config, tmp_path)
    assert "\n" not in str(error.value)
    assert run.metrics.path.read_bytes() == rows
