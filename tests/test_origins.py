"""Every code and machine that worked on a run is in its manifest, and a reader is told."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from run_files import ROOT, TABULAR, quiet, run_in_process, small_config

from bench import doctor
from bench.lifecycle import evaluate_run
from bench.reporting.caveats import caveats
from bench.reporting.records import read_records
from bench.reporting.tables import runs_table
from bench.storage import provenance
from bench.storage.manifest import origins
from bench.storage.parsing import RecordError
from bench.validation import ConfigError


@pytest.fixture
def elsewhere(monkeypatch):
    """From now on it is another commit on another machine."""
    there = {
        "git": {"commit": "f" * 40, "dirty": False},
        "versions": provenance.versions(),
        "machine": {**provenance.machine(1), "processor": "Another"},
    }
    return lambda: monkeypatch.setattr(provenance, "origin", lambda threads, device: there)


def test_a_later_commit_and_machine_are_noted_and_named(tmp_path, elsewhere):
    run = run_in_process(small_config(), tmp_path)
    evaluate_run(run, quiet(), agent_file=TABULAR)
    assert run.manifest()["later_origins"] == []  # the same
    first = run.manifest()["git"]["commit"]
    elsewhere()
    for _ in range(2):
        evaluate_run(run, quiet(), agent_file=TABULAR)
    assert [o["git"]["commit"] for o in origins(run.manifest())] == [first, "f" * 40]

    records = read_records(tmp_path / "small")
    said = " ".join(caveats(records))
    assert "agent: its seeds come from 2 different machines" in said
    if first:
        assert "The runs come from 2 commits" in said
        table = runs_table(records)
        commits = table.rows[0][table.columns.index("commit")]
        assert commits.text == f"{first[:12]} {'f' * 12}"


@pytest.mark.parametrize("later", [5, ["x"], [{"git": {}, "versions": {}}]])
def test_origins_that_are_none_are_named(tmp_path, later):
    run = run_in_process(small_config(), tmp_path)
    run.update_manifest("complete", later_origins=later)
    with pytest.raises(RecordError, match=r"later_origins|machine"):
        run.manifest()


def test_a_strangers_commit_is_not_ours(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / ".gitignore").write_text("venv\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "theirs"]):
        subprocess.run([*git, *command], check=True)
    installed = tmp_path / "venv"
    for name in ("envs", "agents", "bench"):
        (installed / name).mkdir(parents=True)
        shutil.copy(ROOT / name / "__init__.py", installed / name)
    assert provenance.git_state(installed) == {"commit": None, "dirty": None}


def test_an_installation_without_the_papers_numbers_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", Path(tmp_path))
    found = doctor.paper()
    assert found.grade == "problem"
    assert "install from a clone" in found.detail
    from click.testing import CliRunner

    from bench.cli import cli

    done = CliRunner().invoke(cli, ["reproduce", "--profile", "smoke", "--out", str(tmp_path)])
    assert isinstance(done.exception, ConfigError) or "install from a clone" in done.stderr
    assert not list(tmp_path.iterdir())


def test_pins_of_extras_that_are_not_installed_are_no_difference(tmp_path):
    pins = tmp_path / "constraints.txt"
    pins.write_text("click==0.0\nno-such-package==1.0\n")
    (found,) = doctor._pins(pins)
    assert (found.grade, found.detail.endswith("pinned 0.0")) == ("note", True)
    pins.write_text(f"click=={version('click')}\nno-such-package==1.0\n")
    (found,) = doctor._pins(pins)
    assert (found.grade, found.detail) == ("ok", "1 packages as pinned in constraints.txt")


def test_changes_of_the_code_that_were_not_committed_are_noted(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for name in ("envs", "agents", "bench"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code.py").write_text("")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "ours"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "results.csv").write_text("records are no code")
    state = provenance.git_state(tmp_path)
    assert (len(state["commit"]), state["dirty"]) == (40, False)
    (tmp_path / "envs" / "more.py").write_text("")  # untracked
    assert provenance.git_state(tmp_path) == {**state, "dirty": True}
