"""What the figures of training show is what the rows say, averaged as the captions say."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from record_files import write_rows, write_run

from bench.probes import PROBES
from bench.reporting.figure_style import agent_colours, figure_style
from bench.reporting.learning_figures import (
    probe_actions,
    probe_best_action,
    training_diagnostics,
)
from bench.reporting.records import AGENT_ORDER, read_records

COLOURS = agent_colours(AGENT_ORDER)
MOST = math.log(6)  # entropy of six equal chances
METRICS = ["update", "steps", "entropy", "value_loss", "approximate_kl"]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    directory = tmp_path_factory.mktemp("records")
    for seed in (0, 1):
        run = write_run(directory, "gflan-t5", seed)
        # 40 updates, so that each of the 20 windows holds two
        rows = [(i, 25 * i, MOST - 0.01 * (i % 2), 0.1 / i, 0.001) for i in range(1, 41)]
        write_rows(run / "metrics.csv", METRICS, rows)
        answers = [
            (
                steps,
                probe.name,
                0.0,
                *(0.5 if a == (probe.best + seed) % 6 else 0.1 for a in range(6)),
            )
            for steps in (0, 500, 1000)
            for probe in PROBES
        ]
        columns = ["steps", "probe", "value", *(f"p{a}" for a in range(6))]
        write_rows(run / "probes.csv", columns, answers)
    ppo = write_run(directory, "symbolic-ppo", 0)
    write_rows(ppo / "metrics.csv", ["update", "steps", "entropy_loss"], [(1, 1000, -0.5)])
    return read_records(directory)


def panels(figure_of, records):
    with figure_style():
        return figure_of(records).axes


def of(axes, agent):
    return [line for line in axes.lines if to_hex(line.get_color()).upper() == COLOURS[agent]]


def test_diagnostics_are_means_over_windows_and_bold_over_seeds(records):
    entropy, loss, _ = panels(training_diagnostics, records)
    assert len(of(entropy, "gflan-t5")) == 3  # two seeds, their mean
    for line in of(entropy, "gflan-t5"):
        np.testing.assert_allclose(line.get_xdata(), [50 * i for i in range(1, 21)])
        np.testing.assert_allclose(line.get_ydata(), MOST - 0.005)
    np.testing.assert_allclose(of(loss, "gflan-t5")[2].get_ydata()[0], (0.1 + 0.05) / 2)


def test_what_an_agent_logs_under_another_name_or_sign_is_the_same_quantity(records):
    entropy, loss, _ = panels(training_diagnostics, records)
    (line,) = of(entropy, "symbolic-ppo")
    assert line.get_ydata().tolist() == [0.5]
    assert not of(loss, "symbolic-ppo")


def test_the_largest_entropy_is_not_the_edge_of_its_panel(records):
    low, high = panels(training_diagnostics, records)[0].get_ylim()
    assert low == 0
    assert high > 1.05 * MOST


def test_probes_show_the_best_action_of_each_question(records):
    for axes, probe in zip(panels(probe_best_action, records), PROBES, strict=True):
        one, other, mean = of(axes, "gflan-t5")
        assert one.get_ydata().tolist() == [0.5] * 3
        assert other.get_ydata().tolist() == [0.1] * 3
        np.testing.assert_allclose(mean.get_ydata(), 0.3)
        assert probe.goal in axes.get_title(loc="left")


def test_all_actions_are_of_the_first_agent_that_was_asked(records):
    axes = panels(probe_actions, records)[0]
    assert len(axes.lines) == 6 * 3
    means = sorted(float(line.get_ydata()[0]) for line in axes.lines[2::3])
    np.testing.assert_allclose(means, [0.1] * 4 + [0.3] * 2)


def test_nothing_is_drawn_of_records_that_log_none_of_it(tmp_path):
    write_run(tmp_path, "random", 0, learns=False)
    records = read_records(tmp_path)
    assert probe_best_action(records) is probe_actions(records) is None
    assert training_diagnostics(records) is None
