import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_files import outcomes, write_run

from bench.reporting.measures import SeedValues
from bench.reporting.paper import read_paper
from bench.reporting.records import read_records
from bench.reporting.table_format import (
    Cell,
    Table,
    difference_cell,
    latex_escape,
    percent,
    rate_cell,
    rounded,
    steps_cell,
    to_csv,
    to_latex,
    to_markdown,
)
from bench.reporting.tables import q1_table
from envs.splits import ARTICLE_SPLITS

ALL = dict.fromkeys(ARTICLE_SPLITS, outcomes(5))


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (SeedValues({0: 0.4, 1: 0.6}), f"0.50 ± {12.706 * 0.1:.2f}"),
        (SeedValues({0: 0.5, 1: 0.5}), "0.50 ± 0.00"),
        (SeedValues({0: 0.5}), "0.50 ± n/a"),
        (
            SeedValues({0: 0.5}, failed=(1,), missing=(2, 3)),
            "0.50 ± n/a [n=1; 1 failed, 2 missing]",
        ),
        (SeedValues({}, failed=(0, 1)), "failed"),
        (SeedValues({}, missing=(0,)), "missing"),
        (SeedValues({}, failed=(0,), missing=(1,)), "1 failed, 1 missing"),
        (SeedValues({}, empty=(0, 1)), "too few episodes"),
        (SeedValues({0: 0.5}, empty=(1,)), "0.50 ± n/a [n=1; 1 too few episodes]"),
        (SeedValues({0: 0.215}), "0.22 ± n/a"),
    ],
)
def test_a_rate_shows_its_interval_or_why_there_is_none(measured, expected):
    assert rate_cell(measured).text == expected


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (SeedValues({0: 3000.0, 1: 3000.0}), "3,000 ± 0"),
        (SeedValues({0: 3000.0}), "3,000 ± n/a"),
        (SeedValues({0: 3000.0, 1: math.inf}), "3,000, never"),
        (SeedValues({0: math.inf, 1: math.inf}), "never"),
        (SeedValues({0: math.inf}, failed=(1,)), "never [n=1; 1 failed]"),
        (SeedValues({}, failed=(1,)), "failed"),
    ],
)
def test_steps_show_their_interval_only_if_every_seed_reached_the_threshold(measured, expected):
    cell = steps_cell(measured)
    assert cell.text == expected
    reached = bool(measured.values) and all(map(math.isfinite, measured.values.values()))
    assert cell.fields["mean"].isdigit() == reached


@pytest.mark.parametrize(
    ("change", "expected"),
    [(-0.874, "-87%"), (0.5, "+50%"), (-0.004, "0%"), (0.0, "0%"), (math.nan, "n/a")],
)
def test_percent(change, expected):
    assert percent(change) == expected


ODD = st.text(st.sampled_from('ab|,"\n\\&%$#_{}~^<>±-0 '), min_size=1, max_size=12)


@given(st.lists(st.lists(ODD, min_size=2, max_size=2), max_size=4))
def test_any_text_survives_each_format(rows):
    table = Table("odd", "Odd.", (), (), ("one", "two"), tuple(map(tuple, rows)))
    read = list(csv.reader(io.StringIO(to_csv(table).partition("\n")[2])))
    assert read == [["one", "two"], *rows]
    lines = to_markdown(table).splitlines()[2:]
    assert len(lines) == 2 + len(rows)
    assert all(line.replace("\\|", "").count("|") == 3 for line in lines)
    body = to_latex(table).partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
    assert len(body) == len(rows)
    assert all(line.replace(r"\&", "").count("&") == 1 for line in body)


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("50% of a_b & c#1", r"50\% of a\_b \& c\#1"),
        ("{x}^2~\\", r"\{x\}\textasciicircum{}2\textasciitilde{}\textbackslash{}"),
        ("0.5 ± 0.1 (-87%)", r"0.5 $\pm$ 0.1 ($-$87\%)"),
        ("flan-t5 Q1-Q3", "flan-t5 Q1-Q3"),
    ],
)
def test_latex_escape(plain, escaped):
    assert latex_escape(plain) == escaped


def test_latex_is_a_booktabs_table(tmp_path):
    write_run(tmp_path, "drrn", 0, tests=ALL, label="100% a_b")
    latex = to_latex(q1_table(read_records(tmp_path), read_paper()))
    assert latex.startswith("% Q1")
    rules = [latex.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")]
    assert rules == sorted(rules)
    assert r"100\% a\_b & 1 & " in latex
    assert latex.count("{") == latex.count("}")


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="differ in length"):
        Table("bad", "Bad.", (), (), ("one", "two"), (("1",),))


def test_csv_columns_come_from_the_fields_of_any_row():
    rows = (("none", Cell("n/a", {"": ""})), ("one", Cell("1 (x)", {"": "1", "more": "x"})))
    table = Table("t", "T.", (), (), ("name", "value"), rows)
    assert to_csv(table) == "# T.\nname,value,value: more\nnone,,\none,1,x\n"


@given(st.integers(-2000, 2000))
def test_halves_are_rounded_as_a_reader_rounds_them(thousandths):
    away = (abs(thousandths) + 5) // 10 * (1 if thousandths >= 0 else -1)
    assert float(rounded(thousandths / 1000, 2)) == away / 100


def test_a_difference_is_rounded_as_what_it_is_of():
    assert (rounded(0.215, 2), rounded(0.15, 2)) == ("0.22", "0.15")
    assert difference_cell(0.215 - 0.15).text == "+0.07"
    assert difference_cell(-0.004).text == "0.00"
