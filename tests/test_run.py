import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from run_files import ROOT, run_in_process, small_config

from bench.config import config_hash
from bench.storage import atomic
from bench.storage.checkpoint import CheckpointError
from bench.storage.mismatch import mismatch
from bench.storage.row_file import RowFile, format_rows
from bench.storage.run import RunDirectory, RunError
from envs import DRAWS_VERSION


@contextmanager
def largest_file(size):
    """The operating system refuses to let a file grow beyond `size`, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


BIG = "x" * 99 + "\n"
LIMIT = 2**20


def test_write_puts_the_whole_file_in_place(tmp_path):
    path = tmp_path / "a.json"
    atomic.write_json(path, {"é": 1})
    atomic.write_json(path, {"é": 2})
    assert json.loads(path.read_text()) == {"é": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    with largest_file(LIMIT), pytest.raises(OSError, match="too large"):
        atomic.write_text(path, BIG * (LIMIT // 50))
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(path, float("nan"))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_append_that_fails_leaves_no_part_of_a_row(tmp_path):
    path = tmp_path / "rows.csv"
    atomic.append_text(path, "a,b\n")
    with largest_file(LIMIT), pytest.raises(OSError, match="too large"):
        atomic.append_text(path, BIG * (LIMIT // 50))
    assert path.read_text() == "a,b\n"


def test_rows_grow_and_are_cut_back(tmp_path):
    rows = RowFile(tmp_path / "rows.csv")
    assert (rows.size, rows.header()) == (0, [])
    rows.append([("a", "b"), (1, True)])
    mark = rows.mark()
    rows.append([(0.1, False)])
    assert rows.path.read_text() == "a,b\n1,1\n0.1,0\n"
    rows.cut_back(mark)
    assert rows.path.read_text() == "a,b\n1,1\n"
    assert rows.header() == ["a", "b"]
    for edited in ("a,b\n1,0\n", "a,b\n"):
        rows.path.write_text(edited)
        with pytest.raises(CheckpointError, match=r"rows\.csv has changed"):
            rows.cut_back(mark)
    rows.clear()
    assert not rows.path.exists()


def test_cells_with_commas_are_quoted():
    assert format_rows([("go to, then", "1")]) == '"go to, then",1\n'


HOLDER = """
import sys
from pathlib import Path
from bench.storage.run import RunDirectory
with RunDirectory(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_one_writer_at_a_time_and_a_dead_ones_lock_is_void(tmp_path):
    run = RunDirectory(tmp_path / "seed-0")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, run.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=f"in use by process {holder.pid}"), run.lock():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with run.lock():
        assert not run.path.exists()  # taking the lock creates no run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    config = small_config()
    return config, run_in_process(config, out)


def test_layout_is_the_documented_one(finished):
    config, run = finished
    assert {path.name for path in run.path.iterdir()} == {
        "config.json",
        "manifest.json",
        "metrics.csv",
        "episodes.csv",
        "probes.csv",
        "evaluation",
        "replays",
        "checkpoint",
        "train.log",
        "tensorboard",
    }
    for rows in ("evaluation", "replays"):
        assert [path.name for path in (run.path / rows).iterdir()] == ["english-goto.csv"]
    assert run.path.parts[-3:] == ("small", "agent", "seed-3")
    assert run.config() == config


def test_manifest_says_where_the_results_come_from(finished):
    config, run = finished
    manifest = run.manifest()
    assert list(manifest) == [
        "format",
        "profile",
        "agent",
        "label",
        "seed",
        "state",
        "error",
        "config_hash",
        "git",
        "versions",
        "machine",
        "later_origins",
        "processes",
        "model",
        "weight_files_sha256",
        "code_sha256",
        "learns",
        "steps",
        "seeds",
        "splits",
        "command",
        "started",
        "finished",
        "wall_seconds",
    ]
    assert manifest["state"] == "complete"
    assert manifest["label"] == "Tabular"
    assert manifest["config_hash"] == config_hash(config)
    assert manifest["steps"] == 256
    assert manifest["seeds"] == {
        "run": 3,
        "test_first": 1_000_000_000,
        "test_count": 5,
        "draws_version": DRAWS_VERSION,
    }
    assert manifest["splits"] == {
        "english-goto": {"version": 1, "level": "GoToLocal", "level_version": 1}
    }
    assert manifest["machine"]["threads"] == 1
    assert manifest["processes"] == 1
    assert manifest["versions"]["minigrid"]


def edited(run, name, change):
    path = run.path / name
    values = json.loads(path.read_text())
    change(values)
    return path, json.dumps(values)


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("config.json", lambda v: v["train"].update(steps=999), "train.steps (was 999, now 256)"),
        ("config.json", lambda v: v["agent_options"].pop("rows"), "agent_options.rows"),
        ("manifest.json", lambda v: v["model"].update(weights_sha256="0"), "model.weights_sha256"),
        (
            "manifest.json",
            lambda v: v["seeds"].pop("draws_version"),
            f"seeds.draws_version (was 1, now {DRAWS_VERSION})",
        ),
        (
            "manifest.json",
            lambda v: v["splits"]["english-goto"].update(level_version=0),
            "splits.english-goto.level_version (was 0, now 1)",
        ),
    ],
)
def test_a_changed_input_is_named(finished, name, change, field):
    config, run = finished
    path, text = edited(run, name, change)
    before = path.read_text()
    path.write_text(text)
    try:
        assert field in mismatch(run, config, {})
    finally:
        path.write_text(before)
    assert mismatch(run, config, {}) is None


def test_another_config_is_refused_and_force_new_moves_the_old_aside(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    old = (run.path / "metrics.csv").read_bytes()
    other = small_config(threads=2)
    with pytest.raises(RunError, match=r"threads \(was 1, now 2\).*--force-new"):
        run_in_process(other, tmp_path)
    run_in_process(other, tmp_path, force_new=True)
    assert run.manifest()["machine"]["threads"] == 2
    assert (run.path.with_name("old-seed-3-1") / "metrics.csv").read_bytes() == old


def test_wall_time_is_added_up_over_sessions(tmp_path):
    config = small_config()
    run = RunDirectory(tmp_path)
    run.create(config, {"label": "Tabular"}, learns=True)
    for seconds in (1.5, 2.25):
        run.add_wall_seconds("train", seconds)
    assert run.manifest()["wall_seconds"] == {"train": pytest.approx(3.75, abs=0.06), "evaluate": 0}


def test_a_run_goes_on_in_the_precision_it_began_with(finished):
    config, run = finished
    path, text = edited(run, "manifest.json", lambda v: v["model"].update(precision="float32"))
    before = path.read_text()
    path.write_text(text)
    try:
        assert mismatch(run, config, {"precision": "bfloat16"}) is None
    finally:
        path.write_text(before)


def test_a_run_has_one_lock_however_its_path_is_written(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path / "drrn" / "seed-0")
    run.path.mkdir(parents=True)
    monkeypatch.chdir(run.path)
    assert RunDirectory(Path()).lock_path == run.lock_path.resolve()
