import json

import pytest
from record_files import outcomes, write_rows, write_run

from bench.reporting.paper import read_paper
from bench.reporting.records import read_records
from bench.storage.parsing import RecordError
from bench.storage.row_file import EPISODE_TYPES


def test_a_run_is_read_whole(tmp_path):
    training = [(100, 0), (900, 1)]
    path = write_run(
        tmp_path, "drrn", 3, training=training, tests={"train": [1, 0, 1]}, label="DRRN"
    )
    (run,) = read_records(tmp_path).runs
    assert (run.agent, run.label, run.seed, run.state) == ("drrn", "DRRN", 3, "complete")
    assert (run.directory, run.learns, run.steps, run.budget) == (path, True, 1000, 1000)
    assert run.episodes["steps"].tolist() == [100, 900]
    assert run.episodes["success"].tolist() == [False, True]
    assert run.episodes["task_kind"].tolist() == ["go to", "pick up"]
    assert run.metrics["loss"].tolist() == [0.5]
    assert run.test_rows("train")["success"].tolist() == [True, False, True]
    assert run.test_rows("french-goto") is None


def test_header_only_files_of_an_agent_that_does_not_learn(tmp_path):
    write_run(tmp_path, "random", 0, learns=False, tests={"train": [1]})
    (run,) = read_records(tmp_path).runs
    assert run.episodes.empty
    assert run.episodes["steps"].dtype.kind == "i"


def test_agents_stand_in_display_order_and_strangers_last(tmp_path):
    for agent in ("zebra", "random", "aardvark", "drrn", "gflan-t5"):
        write_run(tmp_path, agent, 0, learns=False)
    names = ("gflan-t5", "drrn", "random", "aardvark", "zebra")
    assert read_records(tmp_path).agents == names


def test_a_shared_label_is_told_apart(tmp_path):
    write_run(tmp_path, "drrn", 0, label="DRRN")
    write_run(tmp_path, "drrn-wide", 0, label="DRRN")
    write_run(tmp_path, "random", 0, label="Random")
    records = read_records(tmp_path)
    assert records.label("drrn-wide") == "DRRN [drrn-wide]"
    assert records.label("random") == "Random"


def test_a_learning_agent_lacks_the_seeds_that_others_ran(tmp_path):
    write_run(tmp_path, "drrn", 0, label="DRRN")
    write_run(tmp_path, "gflan-t5", 0)
    write_run(tmp_path, "gflan-t5", 1, state="failed")
    write_run(tmp_path, "random", 0, learns=False)
    records = read_records(tmp_path)
    assert [(run.seed, run.state) for run in records.of("drrn")] == [
        (0, "complete"),
        (1, "missing"),
    ]
    assert records.of("drrn")[1].label == "DRRN"
    assert [run.state for run in records.of("gflan-t5")] == ["complete", "failed"]
    assert [run.seed for run in records.of("random")] == [0]


def test_a_directory_without_manifest_is_a_missing_run(tmp_path):
    write_run(tmp_path, "drrn", 0)
    (tmp_path / "drrn" / "seed-1").mkdir()
    (tmp_path / "bot" / "seed-0").mkdir(parents=True)
    records = read_records(tmp_path)
    assert [run.state for run in records.of("drrn")] == ["complete", "missing"]
    assert [run.state for run in records.of("bot")] == ["missing"]


@pytest.mark.parametrize(
    ("state", "counts"),
    [("complete", True), ("trained", True), ("running", False), ("failed", False)],
)
def test_test_episodes_count_only_once_training_has_ended(tmp_path, state, counts):
    write_run(tmp_path, "drrn", 0, state=state, tests={"train": outcomes(4)})
    (run,) = read_records(tmp_path).runs
    assert (run.test_rows("train") is not None) == counts


def test_a_split_that_was_not_played_to_its_end_does_not_count(tmp_path):
    tests = {"train": outcomes(4), "french-goto": outcomes(4, episodes=9)}
    write_run(tmp_path, "drrn", 0, tests=tests)
    (run,) = read_records(tmp_path).runs
    assert run.test_rows("train") is not None
    assert run.test_rows("french-goto") is None


def test_a_run_that_just_began_has_no_rows_yet(tmp_path):
    path = write_run(tmp_path, "drrn", 0, state="running")
    (path / "episodes.csv").unlink()
    (path / "metrics.csv").unlink()
    (run,) = read_records(tmp_path).runs
    assert run.episodes.empty
    assert list(run.episodes) == list(EPISODE_TYPES)


def edit_cell(path, row, column, text):
    lines = [line.split(",") for line in path.read_text().splitlines()]
    lines[row - 1][lines[0].index(column)] = text
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("steps", "12.5"),
        ("steps", ""),
        ("success", "2"),
        ("success", "True"),
        ("truncated", "no"),
        ("return", "nan"),
        ("return", "inf"),
        ("return", "one"),
    ],
)
def test_a_malformed_cell_is_named_with_its_file_and_row(tmp_path, column, text):
    path = write_run(tmp_path, "drrn", 0, training=[(10, 1), (20, 0)]) / "episodes.csv"
    edit_cell(path, 3, column, text)
    with pytest.raises(RecordError) as caught:
        read_records(tmp_path)
    message = str(caught.value)
    assert f"{path}, row 3: {column} is {text!r}" in message
    assert "glam reproduce" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("episode,env\n", "row 1: lacks the column steps, seed"),
        ("", "row 1: lacks the column episode"),
        (",".join((*EPISODE_TYPES, "env")) + "\n", "row 1: names a column twice"),
        (",".join(EPISODE_TYPES) + "\n0,0,10,0,open,0.5,1,5\n", "row 2: has 8 cells under 9"),
        (",".join(EPISODE_TYPES) + "\n0,0,10,0,open,0.5,1,5,0,7\n", "row 2: has 10 cells under 9"),
        (b"\xff\xfe", ": cannot be read as CSV"),
        (None, ": cannot be read as CSV"),
    ],
)
def test_a_malformed_csv_is_named(tmp_path, content, row):
    path = write_run(tmp_path, "drrn", 0) / "episodes.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RecordError) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)
    assert row in str(caught.value)


def test_a_metric_may_be_empty_but_must_be_a_number(tmp_path):
    path = write_run(tmp_path, "drrn", 0) / "metrics.csv"
    write_rows(path, ["update", "steps", "loss"], [(1, 10, ""), (2, 20, 0.25)])
    (run,) = read_records(tmp_path).runs
    assert run.metrics["loss"].isna().tolist() == [True, False]
    edit_cell(path, 3, "loss", "high")
    with pytest.raises(RecordError, match="row 3: loss is 'high'"):
        read_records(tmp_path)


@pytest.mark.parametrize("second", ["0,0,90", "1,0,40"])
def test_training_episodes_are_there_once_and_in_order(tmp_path, second):
    run = write_run(tmp_path, "drrn", 0, training=[(50, 1), (90, 0)])
    path = run / "episodes.csv"
    path.write_text(path.read_text().replace("\n1,0,90", f"\n{second}"))
    with pytest.raises(RecordError, match="training episode"):
        read_records(tmp_path)


def test_a_split_file_must_hold_that_split(tmp_path):
    run = write_run(tmp_path, "drrn", 0, tests={"train": [1]})
    (run / "evaluation" / "train.csv").rename(run / "evaluation" / "french-goto.csv")
    with pytest.raises(RecordError, match=r"french-goto\.csv: holds rows of a split other than"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("manifest.json", {"state": "done"}, "state 'done' is none of running"),
        ("manifest.json", {"seed": 1}, "seed 1 is not that of its directory"),
        ("manifest.json", {"learns": 1}, "'learns' is 1, expected bool"),
        ("manifest.json", {"steps": True}, "'steps' is True, expected int"),
        ("manifest.json", {"label": None}, "'label' is None, expected str"),
        ("manifest.json", {"format": 2}, "format 2 is not 1"),
        ("config.json", {"train": {"steps": "many"}}, "train.steps is 'many', expected int"),
        ("config.json", {"evaluation": None}, "evaluation.episodes is None"),
        ("config.json", {"environment": {}}, "environment.level is None"),
    ],
)
def test_a_malformed_value_of_a_json_file_is_named(tmp_path, name, change, problem):
    path = write_run(tmp_path, "drrn", 0) / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RecordError) as caught:
        read_records(tmp_path)
    assert f"{path}: {problem}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"), [("{", "cannot be read as JSON"), ("[1]", "holds a list")]
)
@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_a_malformed_json_file_is_named(tmp_path, name, content, problem):
    path = write_run(tmp_path, "drrn", 0) / name
    path.write_text(content)
    with pytest.raises(RecordError) as caught:
        read_records(tmp_path)
    assert f"{path}: {problem}" in str(caught.value)


def test_a_manifest_without_config_is_an_error(tmp_path):
    path = write_run(tmp_path, "drrn", 0) / "config.json"
    path.unlink()
    with pytest.raises(RecordError, match=r"config\.json: cannot be read"):
        read_records(tmp_path)


@pytest.mark.parametrize("directory", ["", "absent"])
def test_a_directory_without_runs_says_what_to_do(tmp_path, directory):
    with pytest.raises(RecordError, match=r"holds no runs .*glam reproduce"):
        read_records(tmp_path / directory)


def test_a_directory_above_names_those_that_hold_runs(tmp_path):
    for profile in ("laptop", "mine"):
        write_run(tmp_path / profile, "drrn", 0)
    with pytest.raises(RecordError, match=r"some in \S*/laptop, \S*/mine$"):
        read_records(tmp_path)


def test_a_run_directory_is_named_after_its_seed(tmp_path):
    (tmp_path / "drrn" / "seed-one").mkdir(parents=True)
    with pytest.raises(RecordError, match="seed-one"):
        read_records(tmp_path)


def test_the_papers_numbers():
    paper = read_paper()
    assert len(paper.success_rate) == 7 * 5
    assert paper.success_rate["train", "GFlan-T5"] == 0.89
    assert paper.success_rate["french-goto", "DRRN"] == 0.31
    assert paper.change("GFlan-T5", "synonym-actions", "train") == pytest.approx(0.12 / 0.89 - 1)
    assert paper.steps_to("GFlan-T5", 0.8) == 250_000
    assert paper.steps_to("DRRN", 0.8) == float("inf")
    assert paper.steps_to("Symbolic-PPO", 0.8) == float("inf")
    assert paper.steps_to("Random", 0.8) != paper.steps_to("Random", 0.8)  # NaN: unpublished
    assert all("2302.02662" in source for source in paper.success_sources + paper.curve_sources)


def test_a_malformed_file_of_the_papers_numbers_is_named(tmp_path):
    (tmp_path / "success_rate.csv").write_text(
        "split,agent,success_rate,source\ntrain,DRRN,high,x\n"
    )
    with pytest.raises(RecordError, match=r"success_rate\.csv, row 2: success_rate is 'high'"):
        read_paper(tmp_path)


@pytest.mark.parametrize(
    ("column", "text"),
    [("success", "1"), ("return", "0.5"), ("truncated", "0"), ("length", "0"), ("return", "-1")],
)
def test_an_episode_that_cannot_be_is_named(tmp_path, column, text):
    path = write_run(tmp_path, "drrn", 0, tests={"train": [1, 0]}) / "evaluation" / "train.csv"
    edit_cell(path, 3, column, text)
    with pytest.raises(RecordError, match="row 3: an episode that cannot be"):
        read_records(tmp_path)


def test_a_split_with_rows_of_an_earlier_larger_number_does_not_count(tmp_path):
    tests = {"train": outcomes(4), "french-goto": outcomes(4, episodes=11)}
    write_run(tmp_path, "drrn", 0, tests=tests)
    (run,) = read_records(tmp_path).runs
    assert run.test_rows("train") is not None
    assert run.test_rows("french-goto") is None
