import csv
import hashlib
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import record_files
from run_files import TABULAR, quiet, run_in_process, small_config

from agents.base import Agent, AgentContext, AgentError
from bench import session
from bench.config import EvaluationConfig
from bench.evaluate import evaluate
from bench.interruption import Interrupted
from bench.lifecycle import build_agent, evaluate_run
from bench.storage.mismatch import mismatch
from bench.storage.row_file import EVALUATION_COLUMNS
from bench.storage.run import RunDirectory, RunError, RunFailed
from bench.validation import ConfigError
from envs import SPLITS, TextEnv, evaluation_seeds

BARE = """
from dataclasses import dataclass

import numpy as np

from agents import Agent


@dataclass(frozen=True)
class Options:
    pass


class Mine(Agent):
    Config = Options
    learns = False

    def act(self, observations):
        return np.zeros(len(observations), int)
"""


def config(episodes=7, n_envs=3, entry="random", **changes):
    evaluation = EvaluationConfig(("train", "french-goto"), episodes, n_envs)
    return small_config(entry, evaluation=evaluation, **changes)


def play(settings, split="train"):
    return evaluate(build_agent(settings), split, settings)


@pytest.mark.parametrize("n_envs", [1, 2, 7, 50])
@pytest.mark.parametrize("split", ["train", "french-goto"])
def test_it_does_not_matter_how_many_are_played_at_once(split, n_envs):
    assert play(config(n_envs=n_envs), split) == play(config(n_envs=3), split)


def test_the_episodes_are_the_fixed_list_each_to_its_end():
    episodes = play(config(episodes=12))
    assert tuple(episode.seed for episode in episodes) == evaluation_seeds(12)
    assert any(not episode.success for episode in episodes)  # slow ones are not left out
    for episode in episodes:
        assert episode.success != episode.truncated
        env = config().environment.build("MixedTrainLocal")
        env.reset(seed=episode.seed)
        assert env.task_kind == episode.task_kind
        if episode.truncated:
            assert episode.length == env.grid_env.max_steps
            assert episode.episode_return == 0


def test_a_longer_list_begins_with_the_shorter():
    assert play(config(episodes=9))[:4] == play(config(episodes=4))


def test_sampling_noise_belongs_to_the_run_and_episodes_to_all():
    first, second = play(config()), play(replace(config(), seed=4))
    assert [e.seed for e in first] == [e.seed for e in second]
    assert [e.prompt_hash for e in first] != [e.prompt_hash for e in second]


def test_prompt_hash_is_over_the_prompts_that_were_answered():
    settings = config(episodes=1)
    (episode,) = play(settings)
    agent = build_agent(settings)
    env = TextEnv("MixedTrainLocal", room_size=5, num_distractors=1)
    observation, _ = env.reset(seed=episode.seed, options={"draw_seed": settings.seed})
    digest, done = hashlib.sha256(), False
    while not done:
        digest.update(observation.prompt().encode() + b"\0")
        observation, _, solved, late, _ = env.step(int(agent.act([observation])[0]))
        done = solved or late
    assert digest.hexdigest().startswith(episode.prompt_hash)
    assert len(episode.prompt_hash) == 16


def test_row_holds_the_documented_columns():
    (episode,) = play(config(episodes=1), "french-goto")
    row = dict(zip(EVALUATION_COLUMNS, episode.row(SPLITS["french-goto"]), strict=True))
    assert (row["split"], row["level"]) == ("french-goto", "GoToLocal")
    assert row["success"] is episode.success
    assert float(row["return"]) == pytest.approx(episode.episode_return, rel=1e-5)


def test_a_privileged_agent_is_shown_the_environments():
    assert all(episode.success for episode in play(config(entry="bot", episodes=6)))


class Says(Agent):
    """Answers whatever a test wants."""

    def __init__(self, answer):
        super().__init__(None, AgentContext())
        self.answer = answer

    def act(self, observations):
        return self.answer(len(observations))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda n: np.zeros(n + 1, int), r"shape \(4,\), expected \(3,\)"),
        (lambda n: np.zeros((n, 1), int), r"shape \(3, 1\)"),
        (lambda n: np.zeros(n), "float64, not integers"),
        (lambda n: np.full(n, 6), "action 6, outside 0 to 5"),
        (lambda n: np.full(n, -1), "action -1, outside 0 to 5"),
        (lambda n: None, r"shape \(\)"),
    ],
)
def test_an_invalid_answer_names_the_agent_and_the_split(answer, problem):
    with pytest.raises(AgentError, match=f"'agent', split 'train': act returned.*{problem}"):
        evaluate(Says(answer), "train", config())


def test_a_trained_run_is_tested_on_a_further_split(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    before = run.evaluation("english-goto").read_bytes()
    evaluate_run(run, quiet(), ["synonym-actions"], agent_file=TABULAR)
    assert len(run.evaluation("synonym-actions").read_text().splitlines()) == 6
    assert run.evaluation("english-goto").read_bytes() == before
    assert set(run.manifest()["splits"]) == {"english-goto", "synonym-actions"}
    assert run.config() == small_config()
    run_in_process(small_config(), tmp_path)  # it is still the same run


def test_more_test_episodes_belong_to_the_run_from_then_on(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    before = run.evaluation("english-goto").read_text()
    evaluate_run(run, quiet(), episodes=8, agent_file=TABULAR)
    after = run.evaluation("english-goto").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 9
    assert run.config().evaluation.episodes == run.manifest()["seeds"]["test_count"] == 8


def test_only_a_trained_run_is_tested(tmp_path):
    run = run_in_process(small_config(), tmp_path, test=False)
    assert run.state() == "trained"
    run.update_manifest("running")
    with pytest.raises(RunError, match="not trained"):
        evaluate_run(run, quiet(), agent_file=TABULAR)


def test_another_number_of_episodes_is_played_of_every_split_that_there_is(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    evaluate_run(run, quiet(), ["synonym-actions"], agent_file=TABULAR)
    evaluate_run(run, quiet(), episodes=8, agent_file=TABULAR)
    assert {name: run.tested(name, 8) for name in run.evaluated()} == {
        "english-goto": True,
        "synonym-actions": True,
    }


def files(run):
    return {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in run.path.rglob("*")
        if path.is_file() and path.name != "train.log"
    }


def test_a_record_without_its_checkpoint_is_left_as_it_is(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    shutil.rmtree(run.checkpoints.directory)
    before = files(run)
    with pytest.raises(RunError, match="has no checkpoint"):
        evaluate_run(run, quiet(), agent_file=TABULAR)
    assert files(run) == before


@pytest.mark.parametrize("episodes", [None, 8])
def test_a_test_that_fails_leaves_a_complete_run_complete(tmp_path, episodes):
    run = run_in_process(small_config(), tmp_path)
    before = files(run)
    broken = tmp_path / "broken.py"
    code = Path(TABULAR.rpartition(":")[0]).read_text()
    broken.write_text(
        code.replace("def act(", "def act(self, _):\n        unknown()\n\n    def old(")
    )
    with pytest.raises(RunFailed, match="unknown"):
        evaluate_run(run, quiet(), episodes=episodes, agent_file=f"{broken}:Tabular")
    after = files(run)
    assert {name for name in after if after[name] != before.get(name)} == {"manifest.json"}
    assert (run.state(), run.manifest()["error"]) == ("complete", None)
    run_in_process(small_config(), tmp_path)  # nothing is left to be done


def test_rows_of_a_split_are_not_lost_to_a_number_asked_of_another(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    before = files(run)
    with pytest.raises(RunError, match="replace those of english-goto"):
        evaluate_run(run, quiet(), ["synonym-actions"], episodes=8, agent_file=TABULAR)
    assert files(run) == before


def test_what_an_interrupted_call_left_is_played_by_the_next(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    evaluate_run(run, quiet(), ["synonym-actions"], agent_file=TABULAR)
    old = run.evaluation("synonym-actions").read_bytes()
    evaluate_run(run, quiet(), episodes=8, agent_file=TABULAR)
    run.evaluation("synonym-actions").write_bytes(old)  # as if the signal had come before it
    evaluate_run(run, quiet(), episodes=8, agent_file=TABULAR)
    assert all(run.tested(name, 8) for name in run.evaluated())


def test_a_file_that_moved_is_named_where_it_is(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    before = run.manifest()["code_sha256"]
    moved = tmp_path / "moved.py"
    shutil.copy(TABULAR.rpartition(":")[0], moved)
    with pytest.raises(RunError, match="where that file is now"):
        evaluate_run(run, quiet(), agent_file=f"{moved}:Other")
    evaluate_run(run, quiet(), agent_file=f"{moved}:Tabular")
    assert (run.state(), run.manifest()["code_sha256"]) == ("complete", before)


def test_what_an_agents_file_imports_from_its_folder_is_part_of_its_hash(tmp_path):
    helper, mine = tmp_path / "glam_test_helper.py", tmp_path / "mine.py"
    mine.write_text("from glam_test_helper import RATE\nimport glam_test_helper\n\n" + BARE)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from agents.registry import find\nfrom bench.storage.agent_code import agent_code_hash\n"
        "print(agent_code_hash(find(f'{sys.argv[1]}/mine.py:Mine').load()))"
    )
    hashes = []
    for code in ("RATE = 1\n", "RATE = 2\n", "RATE = 1\n"):
        helper.write_text(code)
        command = [sys.executable, "-B", "-c", script, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        hashes.append(done.stdout)
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_split_that_the_world_leaves_out_changes_nothing(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    world = replace(run.config().environment, task_kinds=("go to",))
    run.write_config(replace(run.config(), environment=world))
    with pytest.raises(ConfigError, match="environment: "):
        evaluate_run(run, quiet(), ["new-composition"], agent_file=TABULAR)
    assert run.state() == "complete"


def test_other_test_episodes_are_asked_of_evaluate(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    with pytest.raises(RunError, match=f"`glam evaluate {re.escape(str(run.path))}` plays other"):
        run_in_process(small_config(evaluation=EvaluationConfig(episodes=6)), tmp_path)


def test_code_from_an_installed_package_is_noted(tmp_path):
    run = run_in_process(small_config("random", agent="random"), tmp_path)
    assert run.manifest()["code_sha256"] == []
    (found := type("Stranger", (), {})).__module__ = "record_files"
    run.note_origin(found, 1, "cpu")
    digest = hashlib.sha256(Path(record_files.__file__).read_bytes()).hexdigest()
    assert run.manifest()["code_sha256"] == [digest]


def test_a_test_that_was_stopped_goes_on_after_what_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "EPISODES_A_PART", 2)
    whole = run_in_process(small_config(), tmp_path / "whole")
    run = run_in_process(small_config(), tmp_path / "stopped", test=False)
    played: list[int] = []

    def stopping_evaluate(agent, split, config, ended, check_stop, seeds):
        if len(played) == 4:
            raise Interrupted(signal.SIGTERM)
        played.extend(seeds)
        return evaluate(agent, split, config, ended, check_stop, seeds)

    monkeypatch.setattr(session, "evaluate", stopping_evaluate)
    with pytest.raises(Interrupted):
        run_in_process(small_config(), tmp_path / "stopped")
    assert run.state() == "trained"
    played.append(-1)  # no further stop
    run_in_process(small_config(), tmp_path / "stopped")
    assert played == [*evaluation_seeds(4), -1, evaluation_seeds(5)[-1]]
    for name in ("evaluation", "replays"):
        (rows,) = (run.path / name).iterdir()  # nothing is left over
        assert rows.read_bytes() == (whole.path / name / rows.name).read_bytes()


def stopped_after_a_part(tmp_path, monkeypatch) -> RunDirectory:
    monkeypatch.setattr(session, "EPISODES_A_PART", 2)
    run = run_in_process(small_config(), tmp_path, test=False)
    calls: list[object] = []

    def once(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Interrupted(signal.SIGTERM)
        return evaluate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(session, "evaluate", once)
        with pytest.raises(Interrupted):
            run_in_process(small_config(), tmp_path)
    return run


def played_by(run: RunDirectory, tmp_path: Path, monkeypatch) -> int:
    """How many episodes the same command plays then."""
    played: list[int] = []

    def counting(agent, split, config, ended, check_stop, seeds):
        played.extend(seeds)
        return evaluate(agent, split, config, ended, check_stop, seeds)

    with monkeypatch.context() as patch:
        patch.setattr(session, "evaluate", counting)
        run_in_process(small_config(), tmp_path)
    assert run.state() == "complete"
    return len(played)


def test_what_other_code_has_played_is_played_again(tmp_path, monkeypatch):
    run = stopped_after_a_part(tmp_path, monkeypatch)
    monkeypatch.setattr("bench.storage.run.agent_code_hash", lambda agent_class: "other")
    assert played_by(run, tmp_path, monkeypatch) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: re.sub('"success": \\w+', '"success": NaN', text),
        lambda text: "",
    ],
)
def test_what_cannot_be_read_of_a_stopped_test_is_played_again(tmp_path, monkeypatch, damage):
    run = stopped_after_a_part(tmp_path, monkeypatch)
    (part,) = (run.path / "evaluation").iterdir()
    part.write_text(damage(part.read_text()))
    assert played_by(run, tmp_path, monkeypatch) == 5
    assert "cannot be read" in run.log.read_text()


def test_the_rate_that_is_told_counts_what_was_played_before(tmp_path, monkeypatch):
    run = stopped_after_a_part(tmp_path, monkeypatch)
    assert played_by(run, tmp_path, monkeypatch) == 3
    rows = list(csv.DictReader(run.evaluation("english-goto").open()))
    rate = sum(row["success"] == "1" for row in rows) / len(rows)
    assert f"test english-goto: 5/5 episodes, success {rate:.2f}" in run.log.read_text()


def test_one_file_however_it_is_spelled_is_one_agent(tmp_path, monkeypatch):
    shutil.copy(TABULAR.rpartition(":")[0], tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    options = small_config().agent_options

    def config(place):
        return small_config(f"{place}:Tabular", agent_options=options)

    out = tmp_path / "out"
    run = run_in_process(config("mine.py"), out)
    assert mismatch(run, config(tmp_path / "mine.py")) is None
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert mismatch(run, config("../mine.py")) is None  # by what is in it
    (tmp_path / "below" / "other").mkdir()
    (tmp_path / "below" / "other" / "mine.py").write_text(
        (tmp_path / "mine.py").read_text() + "\n# other\n"
    )
    assert "another entry" in mismatch(run, config("other/mine.py"))


def test_a_test_on_another_device_is_played_there(tmp_path):
    run = run_in_process(small_config("random"), tmp_path)
    with pytest.raises(ConfigError, match="there is no 'cuda:99' on this machine"):
        evaluate_run(run, quiet(), device="cuda:99")


def test_only_the_splits_that_were_asked_for_are_played(tmp_path):
    run = run_in_process(config(), tmp_path, test=False)
    evaluate_run(run, quiet(), ["train"])
    assert (run.evaluated(), run.state()) == (["train"], "trained")
    evaluate_run(run, quiet(), ["french-goto"])
    assert (run.evaluated(), run.state()) == (["french-goto", "train"], "complete")


def test_a_failed_test_leaves_a_run_that_can_be_tested(tmp_path, monkeypatch):
    run = run_in_process(small_config(), tmp_path)

    def failing(*arguments):
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(session, "evaluate", failing)
        with pytest.raises(RunFailed):
            evaluate_run(run, quiet(), episodes=9, agent_file=TABULAR)
    assert run.state() == "complete"  # as before
    (run.path / "evaluation" / "english-goto.csv").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(session, "evaluate", failing)
        with pytest.raises(RunFailed):
            evaluate_run(run, quiet(), episodes=9, agent_file=TABULAR)
    assert "no space" in run.manifest()["error"]
    evaluate_run(run, quiet(), episodes=9, agent_file=TABULAR)
    assert run.state() == "complete"
