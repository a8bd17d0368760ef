"""What replays and probes record is what happened, and recording changes nothing."""

import csv
import hashlib

import numpy as np
import pytest
from run_files import quiet, run_in_process, small_config

from agents.base import Agent, AgentContext, AgentError, PolicyOutput, sample_actions
from bench.config import EvaluationConfig
from bench.evaluate import EvaluationEpisode, evaluate
from bench.lifecycle import build_agent, evaluate_run
from bench.probes import POINTS, PROBES
from bench.replays import chosen_episodes, policy_rows, replay_rows, retraced
from envs import ENGLISH, SPLITS

SPLIT = "english-goto"
CONFIG = small_config(evaluation=EvaluationConfig((SPLIT,), episodes=30, n_envs=3))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_in_process(CONFIG, tmp_path_factory.mktemp("run"))


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_replay_plays_the_episode_that_was_tested(run):
    config = CONFIG
    tested = {row["episode_seed"]: row for row in read(run.evaluation(SPLIT))}
    replayed = read(run.replays(SPLIT))
    assert {tested[row["episode_seed"]]["success"] for row in replayed} == {"0", "1"}
    for seed in {row["episode_seed"] for row in replayed}:
        rows = [row for row in replayed if row["episode_seed"] == seed]
        assert [int(row["step"]) for row in rows] == list(range(int(tested[seed]["length"])))
        env = config.environment.build(SPLITS[SPLIT].level, SPLITS[SPLIT].view)
        actions = [int(row["action"]) for row in rows]
        digest = hashlib.sha256()
        for observation, row in zip(
            retraced(env, int(seed), config.seed, actions), rows, strict=True
        ):
            digest.update(observation.prompt().encode() + b"\0")
            chances = np.array([float(row[f"p{i}"]) for i in range(6)])
            assert chances.sum() == pytest.approx(1, abs=0.004)
            assert abs(sample_actions(chances[None], [observation])[0] - int(row["action"])) <= 1
        assert digest.hexdigest().startswith(tested[seed]["prompt_hash"])


def test_the_first_of_each_outcome_is_chosen():
    played = [
        EvaluationEpisode(seed, "go to", 0.0, success, 1, not success, "", (0,))
        for seed, success in enumerate([False, False, True, False, True])
    ]
    assert [episode.seed for episode in chosen_episodes(played)] == [2, 0]
    assert [episode.seed for episode in chosen_episodes(played[:2])] == [0]


def test_an_agent_that_does_not_tell_leaves_its_actions_only():
    config = small_config("bot")
    agent = build_agent(config)
    rows = replay_rows(agent, SPLIT, config, evaluate(agent, SPLIT, config))
    assert rows
    assert {row[3:] for row in rows} == {("",) * 7}


class Misfit(Agent):
    def act(self, observations):
        raise NotImplementedError

    def policy_output(self, observations):
        return self.config


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (PolicyOutput(np.ones((1, 2))), r"Misfit.policy_output: probabilities of shape \(1, 2\)"),
        (
            PolicyOutput(np.full((3, 6), np.nan)),
            "Misfit.policy_output: probabilities are no distribution",
        ),
        (PolicyOutput(np.ones((3, 6))), "Misfit.policy_output: probabilities are no distribution"),
        (
            PolicyOutput(np.full((3, 6), 1 / 6), np.zeros(2)),
            r"Misfit.policy_output: values of shape \(2,\), expected \(3,\)",
        ),
        (np.full((3, 6), 1 / 6), "Misfit.policy_output returned ndarray, expected a PolicyOutput"),
    ],
)
def test_a_policy_output_that_is_none_names_the_agent(answer, problem):
    observations = [PROBES[0].observation(6)] * 3
    with pytest.raises(AgentError, match=problem):
        policy_rows(Misfit(answer, AgentContext()), observations, 3)


def test_probes_are_asked_before_and_at_equal_distances(run):
    rows = read(run.probes.path)
    asked = list(dict.fromkeys(int(row["steps"]) for row in rows))
    assert asked == [0, 64, 128, 192, 256]  # an update takes 64 steps, a point comes every 13
    assert [row["probe"] for row in rows] == [probe.name for probe in PROBES] * len(asked)
    first = [[float(row[f"p{i}"]) for i in range(6)] for row in rows[: len(PROBES)]]
    np.testing.assert_allclose(first, 1 / 6, atol=1e-3)  # its table starts at zero
    assert rows[: len(PROBES)] != rows[-len(PROBES) :]


def test_points_do_not_come_oftener_than_said(tmp_path):
    from bench.probes import ProbeLog
    from bench.storage.row_file import RowFile

    config = small_config()
    log = ProbeLog(build_agent(config), config, RowFile(tmp_path / "probes.csv"))
    log.start()
    for steps in range(4, 257, 4):
        log.passed(steps - 4, steps)
    assert len(read(tmp_path / "probes.csv")) == (POINTS + 1) * len(PROBES)


@pytest.mark.parametrize(
    ("probe", "sentences"),
    [
        (0, "You see a wall 2 steps left, You see a wall 2 steps right, "
            "You see a blue ball 2 steps forward"),
        (1, "You see a wall 2 steps left, You see a wall 2 steps right, "
            "You see a blue ball 1 step forward"),
        (2, "You see a wall 3 steps forward, You see a blue ball 1 step left, "
            "You see a red box 1 step right"),
    ],
)  # fmt: skip
def test_probes_read_as_the_environment_would_say_them(probe, sentences):
    assert ", ".join(PROBES[probe].observation(6).descriptions[0]) == sentences


def test_the_last_two_probes_differ_in_their_goal_alone():
    left, right = (PROBES[i].observation(6) for i in (2, 3))
    assert left.descriptions == right.descriptions
    assert left.goal != right.goal


def test_testing_again_replaces_the_replays(run):
    before = run.replays(SPLIT).read_bytes()
    evaluate_run(run, quiet(), [SPLIT], agent_file=small_config().entry)
    assert run.replays(SPLIT).read_bytes() == before


def test_lists_are_as_good_as_arrays():
    observations = [PROBES[0].observation(6)] * 2
    told = PolicyOutput([[1, 0, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0, 0]], [0.25, 1])
    rows = policy_rows(Misfit(told, AgentContext()), observations, 2)
    assert rows[0] == ("0.25", "1.000", *["0.000"] * 5)
    assert rows[1][:3] == ("1", "0.000", "0.500")


def test_the_best_answers_to_the_probes():
    best = [ENGLISH.actions[probe.best] for probe in PROBES]
    assert best == ["go forward", "pick up", "turn left", "turn right"]
