"""What a reader of records must know, said by the page."""

import json

import pytest
from record_files import outcomes, write_run

from bench.reporting.caveats import caveats
from bench.reporting.records import read_records


def test_caveats_name_what_a_reader_must_know(tmp_path):
    whole = {"tests": {"train": outcomes(5)}}
    write_run(tmp_path, "gflan-t5", 0, git={"commit": "a", "dirty": True}, **whole)
    write_run(tmp_path, "gflan-t5", 1, **whole)
    write_run(tmp_path, "drrn", 0, tests={"train": outcomes(3, episodes=7)}, episodes=10)
    sentences = caveats(read_records(tmp_path))
    for expected in (
        "One seed of drrn: no interval can be given, and a difference to another agent may be "
        "luck.",
        "drrn, seed 0 has 7 of 10 test episodes on train: missing there (`glam evaluate` plays "
        "them).",
        "drrn, seed 1 is missing.",
        "The runs come from 2 commits (see the table of runs).",
        "Some runs come from a tree with uncommitted changes.",
    ):
        assert expected in sentences


def test_the_papers_setting_is_not_all_of_its_experiment(tmp_path):
    said = {"tests": {"train": outcomes(890, 1000)}, "steps": 1_500_000}
    write_run(tmp_path, "gflan-t5", 0, profile="paper", **said)
    assert caveats(read_records(tmp_path))[0].startswith("The paper's setting, but for this: ")
    write_run(tmp_path, "gflan-t5", 1, profile="laptop", **said)
    assert caveats(read_records(tmp_path))[0].startswith("This is not the paper's setting: ")


def test_seeds_of_another_origin_are_named(tmp_path):
    for seed, (weights, torch) in enumerate((("a", "2.13"), ("a", "2.13"))):
        origin = {"weight_files_sha256": weights, "versions": {"torch": torch}}
        write_run(tmp_path, "gflan-t5", seed, **origin)
        write_run(tmp_path, "drrn", seed, **origin)
    assert not any("different" in sentence for sentence in caveats(read_records(tmp_path)))
    write_run(tmp_path, "gflan-t5", 2, weight_files_sha256="b", versions={"torch": "2.13"})
    write_run(tmp_path, "drrn", 2, weight_files_sha256="a", versions={"torch": "2.14"})
    found = [s for s in caveats(read_records(tmp_path)) if "different" in s]
    assert found[0].startswith("gflan-t5: its seeds began from 2 different weights")
    assert found[1].startswith("drrn: its seeds come from 2 different machines")


@pytest.mark.parametrize(
    "other", [{"machine": {"gpu": "A100, CUDA 12.8"}}, {"model": {"precision": "bfloat16"}}]
)
def test_seeds_of_another_gpu_or_precision_are_named(tmp_path, other):
    first = {"machine": {"gpu": "H100, CUDA 12.8"}, "model": {"precision": "float32"}}
    write_run(tmp_path, "gflan-t5", 0, **first)
    write_run(tmp_path, "gflan-t5", 1, **{**first, **other})
    (found,) = [s for s in caveats(read_records(tmp_path)) if "different" in s]
    assert found.startswith("gflan-t5: its seeds come from 2 different machines")


def test_training_rows_that_do_not_add_up_are_named(tmp_path):
    whole = [(10 * i, 0) for i in range(1, 11)]  # one environment, ten steps an episode
    for seed, ended in enumerate((whole, whole[:4] + whole[5:], whole[:-2], whole[:-1])):
        path = write_run(tmp_path, "drrn", seed, training=ended, steps=105) / "config.json"
        path.write_text(path.read_text().replace('"steps"', '"n_envs": 1, "steps"'))
    rows = tmp_path / "drrn" / "seed-0" / "metrics.csv"
    found = [s.partition(": ")[2] for s in caveats(read_records(tmp_path)) if "add up" in s]
    for sentence, gap in zip(found, ("episode 4 ", *2 * ["the last episodes "]), strict=True):
        assert sentence.startswith(f"its training rows do not add up ({gap}")
    rows.write_text(rows.read_text().replace("1,105,", "2,105,"))
    assert any("an update is not there" in s for s in caveats(read_records(tmp_path)))
    for left in (rows.read_text().replace("2,105,", "1,100,"), "update,steps,loss\n"):
        rows.write_text(left)
        assert any("the last updates are not there" in s for s in caveats(read_records(tmp_path)))
    config = tmp_path / "drrn" / "seed-0" / "config.json"
    for count in (0, 10**30):
        config.write_text(config.read_text().replace('"n_envs": 1,', f'"n_envs": {count},'))
        assert any(f"{count} environments cannot" in s for s in caveats(read_records(tmp_path)))
        config.write_text(config.read_text().replace(f'"n_envs": {count},', '"n_envs": 1,'))


def test_steps_beyond_the_budget_are_named(tmp_path):
    write_run(tmp_path, "drrn", 0)
    assert not any("more than others" in sentence for sentence in caveats(read_records(tmp_path)))
    path = write_run(tmp_path, "gflan-t5", 0) / "manifest.json"
    path.write_text(path.read_text().replace('"steps": 1000', '"steps": 4800'))
    expected = "gflan-t5, seed 0 took 4,800 steps of 1,000: more than others had to learn from."
    assert expected in caveats(read_records(tmp_path))


def test_a_split_that_was_never_played_is_named(tmp_path):
    path = write_run(tmp_path, "drrn", 0, tests={"train": outcomes(5), "french-goto": outcomes(5)})
    (path / "evaluation" / "french-goto.csv").unlink()
    sentences = caveats(read_records(tmp_path))
    said = "drrn, seed 0 has 0 of 10 test episodes on french-goto: missing there"
    assert any(sentence.startswith(said) for sentence in sentences)


def test_agents_that_played_other_episodes_are_named(tmp_path):
    write_run(tmp_path, "gflan-t5", 0, tests={"train": outcomes(5)})
    path = write_run(tmp_path, "drrn", 0, tests={"train": outcomes(5)})
    assert not any("same test episodes" in sentence for sentence in caveats(read_records(tmp_path)))
    rows = path / "evaluation" / "train.csv"
    rows.write_text(rows.read_text().replace(",1003,", ",2003,"))
    sentences = caveats(read_records(tmp_path))
    assert any("train: drrn, gflan-t5 did not play the same" in sentence for sentence in sentences)


def test_seeds_with_other_options_of_the_agent_are_named(tmp_path):
    for seed, rate in enumerate((0.1, 0.2)):
        path = write_run(tmp_path, "drrn", seed) / "config.json"
        values = json.loads(path.read_text()) | {"agent_options": {"learning_rate": rate}}
        path.write_text(json.dumps(values))
    (found,) = [s for s in caveats(read_records(tmp_path)) if "different options" in s]
    assert "different options, learning_rate (0.1, 0.2);" in found


def test_steps_beyond_the_budget_that_all_took_are_nobodys_advantage(tmp_path):
    for agent in ("drrn", "gflan-t5"):
        path = write_run(tmp_path, agent, 0) / "manifest.json"
        path.write_text(path.read_text().replace('"steps": 1000', '"steps": 4800'))
    assert not any("more than others" in sentence for sentence in caveats(read_records(tmp_path)))


@pytest.mark.parametrize(("old", "new"), [("train,1,", "train,2,"), ("Level,1,", "Level,2,")])
def test_the_same_seeds_in_another_version_are_other_episodes(tmp_path, old, new):
    write_run(tmp_path, "gflan-t5", 0, tests={"train": outcomes(5)})
    path = write_run(tmp_path, "drrn", 0, tests={"train": outcomes(5)})
    rows = path / "evaluation" / "train.csv"
    rows.write_text(rows.read_text().replace(old, new))
    assert any("did not play the same" in sentence for sentence in caveats(read_records(tmp_path)))


def test_a_last_episode_that_ran_out_of_time_at_the_last_step_is_missed(tmp_path):
    ended = [(10 * i, 0) for i in range(1, 10)]  # the tenth, of ten steps too, is not there
    path = write_run(tmp_path, "drrn", 0, training=ended, steps=100) / "config.json"
    path.write_text(path.read_text().replace('"steps"', '"n_envs": 1, "steps"'))
    assert any("the last episodes are not there" in s for s in caveats(read_records(tmp_path)))


def test_an_episode_of_a_longer_kind_may_be_the_first_of_its_kind(tmp_path):
    timed_out = [(10, 0), (20, 0)]  # of two kinds; twelve steps of another have no row yet
    for level, gaps in (("MixedTrainLocal", 0), ("GoToLocal", 1)):
        out, world = tmp_path / level, {"level": level, "task_kinds": ["go to", "open"]}
        path = write_run(out, "drrn", 0, training=timed_out[:1], steps=22, environment=world)
        config = path / "config.json"
        config.write_text(config.read_text().replace('"steps"', '"n_envs": 1, "steps"'))
        found = [s for s in caveats(read_records(out)) if "add up" in s]
        assert len(found) == gaps


def test_draws_that_had_built_the_level_are_named(tmp_path):
    write_run(tmp_path, "drrn", 0)
    write_run(tmp_path, "bot", 0, seeds={"run": 0}, learns=False)
    assert not any("had built the level" in s for s in caveats(read_records(tmp_path)))
    write_run(tmp_path, "random", 0, seeds={"run": 0}, learns=False)
    (found,) = [s for s in caveats(read_records(tmp_path)) if "had built the level" in s]
    assert found.startswith("random: of earlier code")
