"""Records from anywhere: edited by hand they are read or named, and nothing in them is rendered."""

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_files import outcomes, write_run

from bench.cli import cli
from bench.reporting.records import read_records
from bench.reporting.report import write_report
from bench.storage.parsing import RecordError


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    tests = {"train": outcomes(3), "french-goto": outcomes(2)}
    run = write_run(folder, "drrn", 0, training=[(100, 0), (900, 1)], tests=tests)
    return folder, {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(st.data())
def test_records_edited_by_hand_are_read_or_named(records, data):
    folder, files = records
    path = data.draw(st.sampled_from(sorted(files)))
    content = files[path]
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 20)))
    inserted = data.draw(
        st.binary(max_size=6)
        | st.sampled_from([b"\n", b",", b'"', b"null", b"-1", b"1e999", b"9" * 30, b"{", b"[]"])
    )
    path.write_bytes(content[:start] + inserted + content[end:])
    try:
        read_records(folder)
    except RecordError as error:
        assert str(path.parent) in str(error)  # noqa: PT017
        assert "\n" not in str(error).replace("\\n", "")  # noqa: PT017
    finally:
        path.write_bytes(content)


def test_a_report_that_cannot_be_put_in_place_is_one_line(tmp_path):
    write_run(tmp_path, "random", 0, learns=False, tests={"train": [1]})
    (tmp_path / "tables").write_text("")
    result = CliRunner().invoke(cli, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


HOSTILE = "</td><script>alert(1)</script>|$x_{\\end{table*}[a](javascript:b)`\n\\end{table*}"


def test_nothing_that_records_say_is_rendered(tmp_path):
    write_run(
        tmp_path,
        "drrn",
        0,
        tests={"train": outcomes(3)},
        error=HOSTILE,
        model={"name": HOSTILE, "weights_sha256": HOSTILE, "pretrained": HOSTILE},
        git={"commit": HOSTILE, "dirty": HOSTILE},
        versions={"python": HOSTILE},
        machine={"processor": HOSTILE, "platform": HOSTILE},
    )
    for file in write_report(tmp_path):
        if file.suffix in (".md", ".html", ".svg"):
            assert "<script" not in file.read_text(encoding="utf-8"), file
        if file.suffix in (".md", ".svg"):  # in HTML, Markdown's links are only text
            assert "](javascript" not in file.read_text(encoding="utf-8"), file
        if file.suffix == ".tex":
            lines = file.read_text().splitlines()
            live = [line for line in lines if not line.startswith("%")]
            assert "\n".join(live).count(r"\end{table*}") == 1, file


@pytest.mark.parametrize("word", ["train,", "go to", "Level,"])
def test_a_row_that_says_more_than_a_name_is_refused(tmp_path, word):
    path = write_run(tmp_path, "drrn", 0, tests={"train": outcomes(3)})
    rows = path / "evaluation" / "train.csv"
    rows.write_text(rows.read_text().replace(word, HOSTILE.splitlines()[0] + word[-1:]))
    with pytest.raises(RecordError, match=r"train\.csv: .* is .*, expected at most"):
        read_records(tmp_path)


@pytest.mark.parametrize("key", ["label", "profile"])
def test_a_name_that_cannot_stand_in_a_table_is_refused(tmp_path, key):
    values = {"label": "DRRN", "profile": "laptop", key: HOSTILE}
    write_run(tmp_path, "drrn", 0, tests={"train": outcomes(3)}, **values)
    with pytest.raises(RecordError, match=f"manifest.json: '{key}' is "):
        read_records(tmp_path)
