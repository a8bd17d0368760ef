"""What a user can break by hand is one line that names it; nothing is half written."""

import json
import os
import shutil
import string
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_files import ROOT, run_in_process, small_config

from agents.base import AgentError
from bench.cli import cli
from bench.profile import PROFILES, load_profile
from bench.storage.mismatch import mismatch
from bench.storage.parsing import RecordError, read_json
from bench.storage.run import RunDirectory, RunError, RunFailed
from bench.validation import ConfigError

SAME_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def nested(levels, inner):
    """`levels` anchors, each holding the one before several times."""
    names = string.ascii_letters
    lines = [f"{b}: &{b} {inner.format(a)}" for a, b in pairwise(names[:levels])]
    return "\n".join(["a: &a {x: 1}", *lines])


BAD_PROFILES = {
    "bomb": nested(12, "[*{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}]"),
    "bomb of merges": nested(30, "{{<<: [*{0}, *{0}]}}"),
    "itself": "train: &a [*a]",
    "deep": "[" * 500,
    "many digits": f"train: {{steps: {'9' * 5000}}}",
    "too many": "train: {steps: 99999999999999999999999}",
    "no date": "train: {steps: 2020-13-45}",
    "list as key": "? [a]\n: 1",
    "date as key": "agents: {2020-01-01: {}}",
    "date as option": "agents: {random: {2020-01-01: 1}}",
    "bytes": "train: !!binary aGVsbG8=",
    "set": "train: !!set {a}",
    "object": "train: !!python/object/apply:os.system ['true']",
    "twice": "train: {steps: 1, steps: 2}",
    "infinite": "seeds: [1e999]",
    "null byte": 'agents: {x: {agent: "a\\0b.py:X"}}',
    "control": "\x00",
    "not UTF-8": b"\xff\xfe\x00",
    "two documents": "--- {}\n--- {}",
    "undefined": "train: *nope",
    "no agents": "seeds: [0]",
    "a million rooms": "environment: {room_size: 1000000}",
    "a million environments": "train: {n_envs: 1000000}",
    "a long memory": "environment: {history: 1000000}",
    "far device": "device: 'cuda:99999999999999999999'",
}


@pytest.mark.parametrize("case", BAD_PROFILES)
def test_a_profile_that_cannot_be_read_is_one_line(tmp_path, case):
    path = tmp_path / "mine.yaml"
    text = BAD_PROFILES[case]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ConfigError, AgentError), match=r"^[^\n]+$"):
        list(load_profile(str(path)).runs())


def test_anchors_that_people_use_are_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "agents:\n  one: &a {<<: &b {agent: random}, n_envs: 2}\n  two: {<<: *a, n_envs: 3}\n"
        "  three: *b\n"
    )
    assert [run.train.n_envs for run in load_profile(str(path)).runs([0])] == [2, 3, 32]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
SECTIONS = ("environment", "train", "evaluation", "agents", "seeds", "device", "threads", "odd")


@SAME_FOLDER
@given(st.dictionaries(st.sampled_from(SECTIONS), VALUES))
def test_any_yaml_is_a_profile_or_one_line(tmp_path, values):
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    try:
        assert list(load_profile(str(path)).runs())
    except (ConfigError, AgentError) as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that was trained but not tested."""
    out = tmp_path_factory.mktemp("begun")
    return out, run_in_process(small_config(), out, test=False)


@SAME_FOLDER
@given(st.sampled_from(["manifest.json", "config.json"]), st.data())
def test_an_edited_run_is_refused_or_gone_on_with_but_never_a_traceback(begun, name, data):
    _, run = begun
    path = run.path / name
    content = path.read_bytes()
    values = json.loads(content)
    key = data.draw(st.sampled_from(sorted(values)))
    values[key] = data.draw(VALUES.filter(lambda v: "datetime" not in repr(v)))
    path.write_text(json.dumps(values))
    try:
        problem = mismatch(run, small_config(), {})
        assert problem is None or "\n" not in problem
        run.update_manifest("trained")
        run.add_wall_seconds("train", 1.0)
    except RecordError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e999"])
def test_what_is_no_number_of_json_is_refused(tmp_path, number):
    path = tmp_path / "manifest.json"
    path.write_text(f'{{"agent": {number}}}')
    with pytest.raises(RecordError, match=f"{number} is no number"):
        read_json(path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("manifest.json", "but no manifest.json"), ("config.json", "no config.json")],
)
def test_rows_without_their_papers_are_not_gone_on_with(begun, tmp_path, name, problem):
    out, _ = begun
    shutil.copytree(out, tmp_path / "out")
    run = RunDirectory.of(tmp_path / "out", small_config())
    (run.path / name).unlink()
    with pytest.raises(RunError, match=f"{problem}.*--force-new"):
        run_in_process(small_config(), tmp_path / "out")


@pytest.mark.parametrize("name", ["metrics.csv", "episodes.csv"])
def test_rows_that_were_edited_are_not_gone_on_with(begun, tmp_path, name):
    out, _ = begun
    shutil.copytree(out, tmp_path / "out")
    run = RunDirectory.of(tmp_path / "out", small_config())
    run.update_manifest("running")
    path = run.path / name
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(RunFailed, match=f"{name} has changed.*--force-new"):
        run_in_process(small_config(), tmp_path / "out")


PLACES = (
    "metrics.csv",
    "episodes.csv",
    "manifest.json",
    "config.json",
    "train.log",
    "evaluation",
    "checkpoint",
    "../.seed-3.lock",
)


@pytest.mark.parametrize("kind", ["wrong kind", "loop", "dangling"])
@pytest.mark.parametrize("name", PLACES)
def test_a_directory_or_link_in_the_place_of_a_file_is_no_traceback(begun, tmp_path, name, kind):
    """And a file in the place of a directory."""
    out, _ = begun
    shutil.copytree(out, tmp_path / "out", symlinks=True)
    run = RunDirectory.of(tmp_path / "out", small_config())
    path = run.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere" / "x")
    elif name in ("evaluation", "checkpoint"):
        path.write_text("")
    else:
        path.mkdir()
    try:
        run_in_process(small_config(), tmp_path / "out")
    except (OSError, RunError, RunFailed, RecordError) as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.fixture
def nobody():
    """Root may write anywhere, so the test is somebody else meanwhile."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


TRAIN = ("train", "--profile", "smoke", "--agent", "random", "--set", "evaluation.splits=[train]")


@pytest.mark.parametrize("closed", ["the directory", "the run", "the profile"])
def test_a_place_without_permission_is_one_line(tmp_path_factory, request, closed):
    folder = tmp_path_factory.mktemp("place")
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    profile = folder / "mine.yaml"
    shutil.copy(PROFILES / "smoke.yaml", profile)
    assert invoke(*TRAIN, "--out", folder / "runs", "--no-test").exit_code == 0
    run = folder / "runs" / "smoke" / "random" / "seed-0"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = {
        "the directory": (*TRAIN, "--out", folder / "more runs"),
        "the run": (*TRAIN, "--out", folder / "runs"),
        "the profile": ("train", "--profile", profile, "--agent", "random"),
    }
    profile.chmod(0)
    folder.chmod(0o555)
    run.chmod(0o555)
    request.getfixturevalue("nobody")
    result = invoke(*arguments[closed])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result
    assert "Permission denied" in result.stderr
    assert "Errno" not in result.stderr
    os.seteuid(os.getuid())
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_arguments_that_are_not_text_are_one_line(tmp_path):
    process = subprocess.run(
        [sys.executable, "-P", "-m", "bench", "report", b"\xff\xfe runs"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 2
    assert process.stderr.count(b"\n") == 1, process.stderr
