"""The page, its tables and figures from records."""

import os
import shutil
import subprocess
import sys

import pytest
from record_files import outcomes, played, training, write_run, write_three_agents

from bench.reporting import report
from bench.reporting.report import write_report
from bench.storage.parsing import RecordError

TABLES = (
    "comparison",
    "q1",
    "q2_q3",
    "aggregate",
    "differences",
    "task_kinds",
    "difficulty",
    "seeds",
    "runs",
)
FIGURES = (
    "q1_learning_curves",
    "q2_q3_generalisation",
    "q2_q3_generalisation_paper",
    "success_by_task_kind",
)


def contents(directory):
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("report") / "laptop"
    write_three_agents(directory)
    rows = contents(directory)
    return directory, rows, write_report(directory)


def test_writes_every_table_figure_and_the_page(written):
    directory, rows, paths = written
    expected = {f"tables/{name}.{ending}" for name in TABLES for ending in ("csv", "md", "tex")}
    expected |= {f"figures/{name}.{ending}" for name in FIGURES for ending in ("png", "svg", "pdf")}
    expected |= {"report.md", "report.html"}
    assert {path.relative_to(directory).as_posix() for path in paths} == expected
    now = contents(directory)
    assert set(now) == expected | set(rows)  # no temporary file stays
    assert all(now[name] == content for name, content in rows.items())


def test_another_process_without_torch_writes_the_same_bytes_elsewhere(written, tmp_path):
    directory, rows, _ = written
    for name, content in rows.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    code = """
import pathlib, sys
from bench.reporting.report import write_report
write_report(pathlib.Path(sys.argv[1]))
print({"torch", "transformers"} & set(sys.modules))
"""
    other = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    answer = subprocess.run(command, check=True, env=other, capture_output=True, text=True)
    assert answer.stdout == "set()\n"
    assert contents(tmp_path) == contents(directory)


def test_the_page_shows_what_it_wrote(written):
    directory, _, paths = written
    page = (directory / "report.md").read_text()
    for path in paths:
        name = path.relative_to(directory).as_posix()
        if name.startswith("tables/") or name.endswith(".png"):
            assert f"({name})" in page
    assert "not the paper's setting" in page
    assert "| drrn | 2 | 1.00 ± 0.00 | 0.20 ± 0.00 | 0.20 ± 0.00 |" in page
    assert str(directory) not in page


def draw_nothing(records, paper):
    return {}


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "all_figures", draw_nothing)


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("case", ["random", "failed", "begun", "no runs of a seed", "no splits"])
def test_partial_results_are_reported(tmp_path, case):
    if case == "random":
        write_run(tmp_path, "random", 0, learns=False, tests=played({}))
    elif case == "failed":
        write_run(tmp_path, "gflan-t5", 0, state="failed")
    elif case == "begun":
        write_run(tmp_path, "gflan-t5", 0, state="running")
    elif case == "no runs of a seed":
        write_three_agents(tmp_path)
        shutil.rmtree(tmp_path / "drrn" / "seed-1")
    else:
        write_run(tmp_path, "gflan-t5", 0, training=training(3), state="trained")
    page = write_report(tmp_path)[-1].read_text()
    expected = {
        "random": "| Q1 | Train tasks | — | 0.20 ± n/a |",
        "failed": "gflan-t5, seed 0 failed (out of memory).",
        "begun": "gflan-t5, seed 0 has not finished its training",
        "no runs of a seed": "drrn, seed 1 is missing.",
        "no splits": "| gflan-t5 | 1 | 1.00 ± n/a | missing | 0.15 ± n/a |",
    }
    assert expected[case] in page


@pytest.mark.usefixtures("without_figures")
def test_nothing_is_written_if_a_record_is_malformed(tmp_path):
    write_three_agents(tmp_path)
    (tmp_path / "drrn" / "seed-1" / "manifest.json").write_text("{")
    before = contents(tmp_path)
    with pytest.raises(RecordError, match=r"drrn/seed-1/manifest\.json"):
        write_report(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("without_figures")
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    write_three_agents(tmp_path)
    write_report(tmp_path)
    before = contents(tmp_path)
    write_run(tmp_path, "bot", 0, learns=False)
    changed = contents(tmp_path)

    def no_space(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path)
    assert contents(tmp_path) == changed
    assert changed.items() >= before.items()


def test_a_world_without_sequences_has_a_page(tmp_path):
    kinds = {"task_kinds": ["go to"], "room_size": 6, "num_distractors": 2}
    write_run(tmp_path, "random", 0, learns=False, tests={"train": outcomes(5)}, environment=kinds)
    write_report(tmp_path)
    assert "Level PickUpSeqPickUpLocal." in (tmp_path / "report.html").read_text()
