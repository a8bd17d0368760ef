import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from record_files import outcomes, write_run

from bench.reporting.bar_figures import generalisation, paper_generalisation, success_by_task_kind
from bench.reporting.curve_figure import q1_learning_curves
from bench.reporting.figure_style import (
    COLUMN_WIDTH,
    agent_colours,
    figure_style,
    legend_columns,
    lighten,
    render,
)
from bench.reporting.paper import read_paper
from bench.reporting.records import AGENT_ORDER, read_records
from bench.reporting.statistics import mean_over_seeds
from envs.splits import ARTICLE_SPLITS

ALL = dict.fromkeys(ARTICLE_SPLITS, outcomes(5))
ENDS = [50.0 * (i + 1) for i in range(20)]


def every_window(successes):
    """Training rows: one success and one failure, or two of either, in each of 20 windows."""
    return [
        row for i, n in enumerate(successes) for row in ((50 * i + 1, n > 0), (50 * i + 2, n > 1))
    ]


def rows(successes):
    return [(steps, int(won)) for steps, won in every_window(successes)]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    directory = tmp_path_factory.mktemp("records")
    some = ALL | {"train": outcomes(8), "english-goto": outcomes(10), "french-goto": outcomes(2)}
    other = ALL | {"train": outcomes(6), "english-goto": outcomes(8), "french-goto": outcomes(1)}
    write_run(directory, "gflan-t5", 0, training=rows([0] * 10 + [2] * 10), tests=some)
    write_run(directory, "gflan-t5", 1, training=rows([0] * 10 + [1] * 10), tests=other)
    write_run(directory, "drrn", 0, training=rows([1] * 20), tests=ALL)
    write_run(directory, "drrn", 1, training=rows([1] * 4), state="failed")
    write_run(directory, "random", 0, learns=False, tests=ALL | {"train": outcomes(3)})
    return read_records(directory)


def draw(figure_of, *arguments):
    with figure_style():
        return figure_of(*arguments)


def lines_of(axes, agent):
    return [
        line for line in axes.lines if to_hex(line.get_color()).upper() == COLOURS[agent].upper()
    ]


COLOURS = agent_colours(AGENT_ORDER)


def test_each_known_agent_has_one_colour_of_its_own_whoever_else_is_drawn():
    assert len({colour.upper() for colour in COLOURS.values()}) == len(AGENT_ORDER)
    for agent in AGENT_ORDER:
        assert agent_colours(["zebra", agent, "drrn"])[agent] == COLOURS[agent]


def test_further_agents_get_colours_by_name_not_by_order():
    names = ["zebra", "aardvark", "drrn", "mine"]
    expected = agent_colours(names)
    for order in itertools.permutations(names):
        assert agent_colours(order) == expected
    assert len(set(expected.values())) == 4
    assert not set(expected.values()) & (set(COLOURS.values()) - {COLOURS["drrn"]})


def test_lighten_mixes_with_white():
    assert lighten("#000000", 0) == "#000000"
    assert lighten("#336699", 1) == "#ffffff"
    assert all(a < b for a, b in zip(to_rgb("#0072B2"), to_rgb(lighten("#0072B2")), strict=True))


def test_long_labels_stand_in_one_column():
    assert legend_columns(["DRRN", "Random"]) == 2
    assert legend_columns(["GFlan-T5 (tiny, not pretrained), 3 seeds"] * 2) == 1


def test_curves_show_every_seed_their_mean_and_the_t_band(records):
    axes = draw(q1_learning_curves, records, read_paper()).axes[0]
    first, second, mean = lines_of(axes, "gflan-t5")
    assert first.get_xdata().tolist() == ENDS
    assert first.get_ydata().tolist() == [0.0] * 10 + [1.0] * 10
    assert second.get_ydata().tolist() == [0.0] * 10 + [0.5] * 10
    assert mean.get_ydata().tolist() == [0.0] * 10 + [0.75] * 10
    assert mean.get_linewidth() > 2 * first.get_linewidth()
    (band,) = [
        c for c in axes.collections if to_hex(c.get_facecolor()[0]) == to_hex(COLOURS["gflan-t5"])
    ]
    heights = band.get_paths()[0].vertices[:, 1]
    assert mean_over_seeds([0.5, 1.0]).half_width > 0.75  # wider than the axis: cut at 0 and 1
    assert (heights.min(), heights.max()) == (0, 1)


def test_a_failed_run_is_dotted_up_to_a_cross_and_not_averaged(records):
    axes = draw(q1_learning_curves, records, read_paper()).axes[0]
    seed, dotted, cross, mean = lines_of(axes, "drrn")
    assert dotted.get_linestyle() == ":"
    assert np.isnan(dotted.get_ydata()).sum() == 16
    assert cross.get_marker() == "x"
    assert float(cross.get_xdata()[0]) == 200
    assert mean.get_ydata().tolist() == seed.get_ydata().tolist() == [0.5] * 20


def test_an_agent_that_does_not_learn_is_a_dashed_line_at_its_test_success(records):
    axes = draw(q1_learning_curves, records, read_paper()).axes[0]
    (line,) = lines_of(axes, "random")
    assert line.get_linestyle() == "--"
    assert list(line.get_ydata()) == [0.3, 0.3]


def test_levels_that_would_hide_one_another_take_turns(tmp_path):
    for agent in ("zero-shot", "random"):
        write_run(tmp_path, agent, 0, learns=False, tests=ALL)
    write_run(tmp_path, "bot", 0, learns=False, tests=ALL | {"train": outcomes(10)})
    axes = draw(q1_learning_curves, read_records(tmp_path), read_paper()).axes[0]
    colours = agent_colours(["zero-shot", "random", "bot"])
    assert len(axes.lines) == 3
    dashes = {to_hex(line.get_color()).upper(): line._unscaled_dash_pattern for line in axes.lines}
    one, other, bot = (dashes[colours[a].upper()] for a in ("zero-shot", "random", "bot"))
    assert {one[0], other[0]} == {0, one[1][0]}  # where the one's dash ends the other's begins
    assert one[1] == other[1] == (one[1][0], one[1][0])
    assert bot[0] == 0


def test_a_window_between_empty_ones_is_a_dot(tmp_path):
    write_run(tmp_path, "drrn", 0, training=[(1, 1), (401, 0), (451, 1), (951, 1)])
    axes = draw(q1_learning_curves, read_records(tmp_path), read_paper()).axes[0]
    for line in lines_of(axes, "drrn"):
        assert line.get_marker() == "."
        assert line.get_markevery() == [0, 19]  # and not the two that a line joins


def test_runs_of_different_budgets_are_not_averaged(tmp_path):
    write_run(tmp_path, "drrn", 0, training=rows([1] * 20))
    write_run(tmp_path, "drrn", 1, training=rows([1] * 20), steps=2000)
    axes = draw(q1_learning_curves, read_records(tmp_path), read_paper()).axes[0]
    assert len(lines_of(axes, "drrn")) == 2


def test_the_papers_points_stand_in_a_panel_of_their_own(records):
    measured, published = draw(q1_learning_curves, records, read_paper()).axes
    points = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]), to_hex(line.get_color()).upper())
        for line in published.lines
    }
    assert points == {
        (250_000, 0.8, COLOURS["gflan-t5"]),
        (600_000, 0.9, COLOURS["gflan-t5"]),
        (1_500_000, 0.2, COLOURS["npae-flan-t5"]),
        (1_500_000, 0.2, COLOURS["drrn"]),
        (1_500_000, 0.4, COLOURS["symbolic-ppo"]),
    }
    assert "paper" in published.get_title(loc="left")
    assert measured.get_xlim()[1] == 1050
    assert "not the paper's setting" in measured.get_title(loc="left")


def bars(axes):
    return [(to_hex(bar.get_facecolor()), round(bar.get_height(), 9)) for bar in axes.patches]


def test_bars_are_the_reference_then_the_split_with_the_change_on_top(records):
    panels = {ax.get_title(loc="left"): ax for ax in draw(generalisation, records).axes}
    assert list(panels) == [
        "Renamed nouns\nlight: Train tasks",
        "Invented words\nlight: Train tasks",
        "New composition\nlight: Train tasks",
        "Synonym actions\nlight: Train tasks",
        "French go to\nlight: English go to",
        "French go to\nlight: Train tasks",
    ]
    french = panels["French go to\nlight: English go to"]
    gflan, drrn, random = (to_hex(COLOURS[a]) for a in ("gflan-t5", "drrn", "random"))
    assert bars(french) == [
        (lighten(gflan), 0.9),
        (gflan, 0.15),
        (lighten(drrn), 0.5),
        (drrn, 0.5),
        (lighten(random), 0.5),
        (random, 0.5),
    ]
    assert [text.get_text() for text in french.texts] == ["-83%", "0%", "0%"]
    against_train = panels["French go to\nlight: Train tasks"]
    assert [text.get_text() for text in against_train.texts] == ["-79%", "0%", "+67%"]
    seeds = [line for line in french.lines if line.get_marker() == "o"]
    assert sorted(seeds[0].get_ydata()) == [0.8, 1.0]


def test_a_bar_that_cannot_be_drawn_says_why(tmp_path):
    write_run(tmp_path, "drrn", 0, tests=ALL, state="failed")
    write_run(tmp_path, "random", 0, learns=False, tests={"train": outcomes(3)})
    axes = draw(generalisation, read_records(tmp_path)).axes[0]
    assert [text.get_text() for text in axes.texts] == ["failed", "failed", "missing"]
    assert [height for _, height in bars(axes)] == [0.3]


def test_the_papers_bars_are_the_papers_numbers():
    paper = read_paper()
    axes = draw(paper_generalisation, paper).axes[0]
    expected = [
        round(paper.success_rate[split, agent], 9)
        for agent in paper.agents
        for split in ("train", "renamed-nouns")
    ]
    assert [height for _, height in bars(axes)] == expected
    assert [text.get_text() for text in axes.texts] == ["-2%", "-6%", "-18%", "+7%", "0%"]


def test_task_kinds_are_drawn_with_their_numbers_of_episodes(records):
    axes = draw(success_by_task_kind, records).axes[0]
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == [f"{k}\nn=2" for k in ("go to", "pick up", "put next", "sequence", "open")]
    random = [height for colour, height in bars(axes) if colour == to_hex(COLOURS["random"])]
    assert random == [0.5, 0.5, 0.5, 0.0, 0.0]  # episodes 0, 1 and 2 of ten succeed


@pytest.mark.parametrize("case", ["only random", "nothing evaluated", "begun", "many agents"])
def test_partial_records_can_be_drawn(tmp_path, case):
    if case == "only random":
        write_run(tmp_path, "random", 0, learns=False, tests=ALL)
    elif case == "nothing evaluated":
        write_run(tmp_path, "drrn", 0, training=rows([1] * 20), state="trained")
    elif case == "begun":
        write_run(tmp_path, "drrn", 0, state="running")
    else:
        for agent in (*AGENT_ORDER, "zebra"):
            write_run(tmp_path, agent, 0, tests={"train": outcomes(3)})
    records = read_records(tmp_path)
    agents = len(records.agents)
    for figure in (
        draw(q1_learning_curves, records, read_paper()),
        draw(generalisation, records),
        draw(success_by_task_kind, records),
    ):
        assert figure.get_figwidth() == COLUMN_WIDTH
        assert len(figure.legends[0].get_texts()) == agents


def test_the_same_bytes_whatever_the_users_settings_and_none_of_them_kept(tmp_path):
    write_run(tmp_path, "drrn", 0, training=rows([1] * 20), tests=ALL)
    records = read_records(tmp_path)
    with figure_style():
        first = render(success_by_task_kind(records))
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.grid": False}):
        with figure_style():
            second = render(success_by_task_kind(records))
        assert mpl.rcParams["font.size"] == 30
    assert first == second
    assert first["png"].startswith(b"\x89PNG")
    assert b"<svg" in first["svg"]
    assert b"<dc:date>" not in first["svg"]
