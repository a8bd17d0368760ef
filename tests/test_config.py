import dataclasses
import json
import os
import re
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from run_files import PROFILE, TABULAR, small_config

from agents.base import AgentError
from bench.commands.options import with_device
from bench.config import (
    EnvironmentConfig,
    EvaluationConfig,
    RunConfig,
    TrainConfig,
    config_hash,
    differences,
)
from bench.profile import PROFILES, load_profile, profile_names
from bench.validation import ConfigError
from envs import ARTICLE_SPLITS, SPLITS, TASK_KINDS


@pytest.fixture
def profile_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(PROFILE)
    return str(path)


def test_later_sources_win_over_earlier_ones(profile_file):
    profile = load_profile(profile_file, ["train.steps=1_000", "agents.tabular.rows=64"])
    assert profile.train == TrainConfig(steps=1000, n_envs=4, checkpoint_every=128)
    assert profile.environment.history == EnvironmentConfig().history
    tabular, random = profile.runs()
    assert tabular.agent_options == {"learning_rate": 0.5, "rows": 64, "rollout_length": 16}
    assert (tabular.entry, random.entry) == (TABULAR, "random")


@pytest.mark.parametrize(
    ("text", "value"),
    [("3e-4", 3e-4), ("1E+2", 100.0), (".5", 0.5), ("-1e-3", -1e-3), ("2", 2.0), ("1.5e2", 150.0)],
)
def test_numbers_are_read_as_people_write_them(profile_file, text, value):
    (run,) = load_profile(profile_file, [f"agent.learning_rate={text}"], ["tabular"]).runs()
    assert run.agent_options["learning_rate"] == value


@pytest.mark.parametrize(("text", "steps"), [("1e6", 10**6), ("2E+3", 2000), ("15e2", 1500)])
def test_counts_may_be_written_with_an_exponent(profile_file, text, steps):
    assert load_profile(profile_file, [f"train.steps={text}"]).train.steps == steps
    for other in ("1.5e0", "1e-1", "1e999", "1.0e3"):
        with pytest.raises(ConfigError, match=r"train\.steps"):
            load_profile(profile_file, [f"train.steps={other}"])


def test_runs_are_agents_times_seeds(profile_file):
    runs = list(load_profile(profile_file, ["seeds=[4, 5]"]).runs())
    assert [(run.agent, run.seed) for run in runs] == [
        ("tabular", 4),
        ("tabular", 5),
        ("random", 4),
        ("random", 5),
    ]
    assert [run.seed for run in load_profile(profile_file, [], ["random"]).runs([7])] == [7]


def test_an_agent_from_outside_the_profile_joins_it(profile_file):
    from_registry, from_file = load_profile(profile_file, [], ["bot", TABULAR]).agents.items()
    assert from_registry == ("bot", {})
    assert from_file == ("tabular", {"agent": TABULAR})  # the profile's own label, same class


def test_reserved_options_go_to_the_harness(profile_file):
    (run,) = load_profile(profile_file, ["agents.tabular.n_envs=7"], ["tabular"]).runs()
    assert run.train.n_envs == 7
    assert "n_envs" not in run.agent_options
    nothing = ["agents.tabular.n_envs=null", "agents.tabular.device=null"]
    (run,) = load_profile(profile_file, nothing, ["tabular"]).runs()
    assert (run.train.n_envs, run.device) == (4, "cpu")


def test_an_agent_may_have_a_device_of_its_own(profile_file):
    own = ["device=cuda", "agents.tabular.device=cpu"]
    runs = {run.agent: run for run in load_profile(profile_file, own).runs()}
    assert (runs["tabular"].device, runs["random"].device) == ("cpu", "cuda")
    assert "device" not in runs["tabular"].agent_options
    asked = with_device(own, "mps")
    assert {run.device for run in load_profile(profile_file, asked).runs()} == {"mps"}
    with pytest.raises(ConfigError, match=r"agents\.tabular\.device: must be cpu"):
        list(load_profile(profile_file, ["agents.tabular.device=gpu"]).runs())


def test_an_option_of_an_agent_that_nobody_knows_is_refused(profile_file):
    for known in ("agents.random.n_envs=3", "agents.drrn.gamma=0.5"):
        load_profile(profile_file, [known], ["tabular"])
    with pytest.raises(ConfigError, match=r"agents\.tabula: no agent.*'tabular'"):
        load_profile(profile_file, ["agents.tabula.rows=64"], ["tabular"])


def test_presets_lie_between_defaults_and_profile():
    sets = ["agents.npae-flan-t5.value_hidden=32", "agents.npae-flan-t5.model=miniflan"]
    (run,) = load_profile("laptop", sets, ["npae-flan-t5"]).runs([0])
    assert run.agent_options["policy_head"] == "action_heads"
    assert run.agent_options["pretrained"] is False
    assert run.agent_options["value_hidden"] == 32


def test_config_survives_its_file():
    config = small_config()
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_hash_sees_every_field_but_the_names_it_is_kept_under():
    config = small_config()
    changed = {
        "entry": "random",
        "seed": 4,
        "environment": dataclasses.replace(config.environment, history=2),
        "train": dataclasses.replace(config.train, n_envs=5),
        "evaluation": dataclasses.replace(config.evaluation, episodes=6),
        "agent_options": {**config.agent_options, "rows": 5},
        "device": "cuda",
        "threads": 2,
    }
    names = {field.name for field in dataclasses.fields(RunConfig)}
    assert changed.keys() | {"profile", "agent"} == names
    hashes = {config_hash(dataclasses.replace(config, **{k: v})) for k, v in changed.items()}
    assert len(hashes | {config_hash(config)}) == len(changed) + 1
    renamed = dataclasses.replace(config, profile="other", agent="other")
    assert config_hash(renamed) == config_hash(config)


def test_differences_name_the_field():
    old, new = small_config(), small_config(seed=9, train=TrainConfig(256, 4, 64))
    assert list(map(str, differences(old.to_json(), new.to_json()))) == [
        "seed (was 3, now 9)",
        "train.checkpoint_every (was 128, now 64)",
    ]


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["trian.steps=1"], ["'trian'", "'train'"]),
        (["train.step=1"], ["'train.step'", "'train.steps'"]),
        (["train.steps=1.5"], ["train.steps", "1.5"]),
        (["train.steps='12'"], ["train.steps", "'12'"]),
        (["train.steps=true"], ["train.steps", "True"]),
        (["train.steps=0"], ["train.steps", "0"]),
        (["train.steps.x=1"], ["train.steps"]),
        (["train=1"], ["train"]),
        (["environment.level=MixedTrain"], ["environment.level", "'MixedTrainLocal'"]),
        (["environment.num_distractors=50"], ["num_distractors", "50"]),
        (["environment.n_actions=10"], ["n_actions", "10"]),
        (["evaluation.splits=[frensh-goto]"], ["evaluation.splits", "'french-goto'"]),
        (["evaluation.splits=trian"], ["evaluation.splits", "'train'"]),
        (["evaluation.splits=al"], ["evaluation.splits", "'all'"]),
        (["evaluation.splits=5"], ["evaluation.splits", "5"]),
        (["environment.task_kinds=goto"], ["environment.task_kinds", "'goto'"]),
        (["evaluation.splits=[train, train]"], ["evaluation.splits", "twice"]),
        (["seeds=[]"], ["seeds"]),
        (["seeds=[-1]"], ["seeds"]),
        (["device=gpu"], ["device", "'gpu'"]),
        (["agents.tabular.learnin_rate=1"], ["learnin_rate", "learning_rate"]),
        (["agents.tabular.learning_rate=fast"], ["agents.tabular.learning_rate", "'fast'"]),
        (["agents.tabular.learning_rate=.nan"], ["agents.tabular.learning_rate", "nan"]),
        (["agents.tabular.n_envs=0"], ["agents.tabular.n_envs", "0"]),
        (["agents.tabular.agent=randon"], ["'randon'", "'random'"]),
        (["agents.tabular=5"], ["agents.tabular"]),
        (["agents=[1]"], ["agents"]),
        (["agents.a/b.agent=random"], ["'a/b'"]),
        (["seeds=2020-01-01"], ["seeds"]),
        (["train.steps"], ["train.steps", "key=value"]),
        (["train.steps={"], ["train.steps", "YAML"]),
        (["name=x"], ["name"]),
    ],
)
def test_a_bad_setting_is_named_in_one_line(profile_file, overrides, names):
    with pytest.raises((ConfigError, AgentError)) as error:
        list(load_profile(profile_file, overrides).runs())
    message = str(error.value)
    assert "\n" not in message
    for name in names:
        assert name in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "train: {steps: 5",
        "train: {steps: 5}\ntrain: {steps: 6}",
        "!!python/name:os.kill",
    ],
)
def test_a_bad_profile_file_is_named_in_one_line(tmp_path, text):
    path = tmp_path / "eigenes Profil ü.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"^[^\n]*Profil ü\.yaml[^\n]*$"):
        load_profile(str(path))


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_override_gets_past_validation(key, value):
    runs, problem = [], ""
    try:
        runs = list(load_profile("smoke", [f"{key}={value}"], ["random"]).runs())
    except (ConfigError, AgentError) as error:
        problem = str(error)
    assert len(problem.splitlines()) == (0 if runs else 1)
    assert all(RunConfig.from_json(run.to_json()) == run for run in runs)


@pytest.mark.parametrize("name", profile_names())
def test_profiles_that_come_along_are_valid(name):
    profile = load_profile(name)
    runs = list(profile.runs())
    assert len(runs) == len(profile.agents) * len(profile.seeds)
    assert {"random", "bot"} <= set(profile.agents)  # floor and ceiling
    assert profile.description


@pytest.mark.parametrize("name", ["smoke", "laptop", "paper"])
def test_profiles_compare_the_agents_of_the_article(name):
    agents = set(load_profile(name).agents)
    assert {"gflan-t5", "npae-flan-t5", "drrn", "symbolic-ppo"} <= agents


def test_smoke_plays_every_split_and_laptop_the_articles():
    assert load_profile("smoke").evaluation.splits == tuple(SPLITS)
    assert load_profile("laptop").evaluation.splits == ARTICLE_SPLITS


def test_paper_profile_holds_the_published_values():
    profile = load_profile("paper")
    assert profile.environment == EnvironmentConfig(
        level="MixedTrainLocal",
        room_size=8,
        num_distractors=8,
        task_kinds=TASK_KINDS,
        history=3,
        n_actions=6,
    )
    assert (profile.train.steps, profile.train.n_envs) == (1_500_000, 32)
    assert profile.evaluation == EvaluationConfig(ARTICLE_SPLITS, 1000, 32)
    assert profile.seeds == (0, 1)
    by_agent = {run.agent: run for run in profile.runs([0])}
    assert by_agent["symbolic-ppo"].train.n_envs == 64
    published = {
        "model": "google/flan-t5-large",
        "scoring": "log_probabilities",
        "learning_rate": 1e-6,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_eps": 1e-5,
        "rollout_length": 40,
        "epochs": 4,
        "batch_size": 64,
        "gamma": 0.99,
        "gae_lambda": 0.99,
        "clip": 0.2,
        "clip_value": 0.2,
        "entropy_coefficient": 0.01,
        "value_coefficient": 0.5,
        "max_grad_norm": 0.5,
        "reward_scale": 20.0,
        "normalize_advantage": False,
        "value_hidden": 1024,
    }
    for name in ("gflan-t5", "npae-flan-t5"):
        options = by_agent[name].agent_options
        assert {key: options[key] for key in published} == published
    assert by_agent["npae-flan-t5"].agent_options["policy_head"] == "action_heads"
    # written out, not left to defaults that may be tuned for a laptop one day
    written = yaml.safe_load((PROFILES / "paper.yaml").read_text())["agents"]["gflan-t5"]
    assert published.keys() <= written.keys()


def test_smollm2_plays_the_tasks_of_the_laptop_profile():
    ours, theirs = load_profile("laptop"), load_profile("smollm2")
    assert ours.environment == theirs.environment
    assert ours.evaluation == theirs.evaluation


@pytest.mark.parametrize("setting", ["agent.rows=64", "agents.tabular.rows=64"])
def test_a_files_agent_gets_its_options_however_they_are_given(setting):
    (run,) = load_profile("smoke", [setting], [TABULAR]).runs([0])
    assert (run.agent, run.entry, run.agent_options["rows"]) == ("tabular", TABULAR, 64)
    with pytest.raises(ConfigError, match="rowz"):
        list(load_profile("smoke", ["agents.tabular.rowz=64"], [TABULAR]).runs())


def test_a_profile_may_give_options_to_a_files_agent(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("agents:\n  tabular: {rows: 9}\n  other: {agent: " + TABULAR + ", rows: 8}\n")
    runs = load_profile(str(path), [], [TABULAR, "other"]).runs()
    assert [(run.agent, run.agent_options["rows"]) for run in runs] == [
        ("tabular", 9),
        ("other", 8),
    ]
    path.write_text("agents:\n  tabulr: {rows: 9}\n")
    with pytest.raises(ConfigError, match="unknown agent 'tabulr'; did you mean 'tabular'"):
        load_profile(str(path), [], [TABULAR])


def test_two_files_agents_of_one_name_are_refused(tmp_path):
    other = tmp_path / "again.py"
    shutil.copy(TABULAR.rpartition(":")[0], other)
    name = TABULAR.rpartition(":")[2]
    with pytest.raises(ConfigError, match="give one another name in a profile"):
        load_profile("smoke", [], [TABULAR, f"{other}:{name}"])
    elsewhere = os.path.relpath(TABULAR.rpartition(":")[0]) + f":{name}"
    assert list(load_profile("smoke", [], [TABULAR, elsewhere]).agents) == ["tabular"]


def test_a_world_without_an_episode_is_refused():
    profile = load_profile("smoke", ["environment.room_size=4", "environment.num_distractors=9"])
    with pytest.raises(ConfigError, match="environment: "):
        next(profile.runs())


def test_the_published_mix_is_the_articles_world_with_the_laptop_profiles_agents():
    ours, article, laptop = (load_profile(p) for p in ("published-mix", "paper", "laptop"))
    assert ours.environment == article.environment
    assert ours.agents == laptop.agents
    assert all(run.train.steps == 30720 for run in ours.runs())  # the README says so


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("gflan-t5.gamma=2.0", "less than or equal to 1, got 2.0"),
        ("gflan-t5.epochs=0", "greater than or equal to 1, got 0"),
        ("gflan-t5.clip=-1.0", "greater than 0, got -1.0"),
        ("drrn.gamma=1.5", "less than or equal to 1, got 1.5"),
        ("drrn.batch_size=0", "greater than or equal to 1, got 0"),
        ("drrn.temperature=-1", "greater than 0, got -1"),
        ("symbolic-ppo.gae_lambda=1.5", "less than or equal to 1, got 1.5"),
        ("symbolic-ppo.rollout_length=0", "greater than or equal to 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused_by_name(option, problem):
    agent = option.partition(".")[0]
    profile = load_profile("laptop", [f"agents.{option}"], [agent])
    name = f"agents.{option.partition('=')[0]}"
    with pytest.raises(ConfigError, match=re.escape(f"{name}: must be {problem}")):
        next(profile.runs([0]))


def test_a_profile_of_ones_own_does_not_pass_for_one_that_comes_with_the_benchmark(tmp_path):
    (tmp_path / "laptop.yaml").write_text(PROFILE)
    with pytest.raises(ConfigError, match="'laptop' comes with the benchmark"):
        load_profile(str(tmp_path / "laptop.yaml"))
    assert load_profile(str(PROFILES / "laptop.yaml")).name == "laptop"


def test_a_seed_or_the_order_of_kinds_makes_no_other_run(profile_file):
    assert [r.seed for r in load_profile(profile_file, ["seeds=[4, 4]"], ["random"]).runs()] == [4]
    kinds = ["environment.task_kinds=[sequence, go to]"]
    assert load_profile(profile_file, kinds).environment.task_kinds == ("go to", "sequence")


def test_a_setting_of_one_agent_is_not_one_of_its_alias(tmp_path):
    profile = tmp_path / "two.yaml"
    profile.write_text("agents: {gflan-t5: &m {model: miniflan}, npae-flan-t5: *m}")
    runs = load_profile(str(profile), ["agents.gflan-t5.epochs=7"]).runs()
    assert [run.agent_options["epochs"] == 7 for run in runs] == [True, False]


def test_a_kind_that_the_room_has_no_place_for_is_refused_before_training():
    world = EnvironmentConfig(room_size=6, num_distractors=7)
    with pytest.raises(ConfigError, match="environment: no valid episode"):
        world.check(())
    dataclasses.replace(world, task_kinds=("go to", "pick up")).check(("english-goto",))
