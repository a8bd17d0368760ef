"""Plans: arithmetic against hand counts, counts against the published sizes, the command."""

import itertools
import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console
from run_files import small_config

from agents import AgentError, find
from agents.base import Agent, AgentContext
from agents.language_model.config import LanguageModelConfig
from agents.language_model.planning.expense import Memory, Speed, Work
from agents.registry import BUILT_IN
from bench.cli import cli
from bench.config import EvaluationConfig
from bench.planning import plan as planning
from bench.planning import random_play, trial
from bench.planning.gpus import EFFICIENCY, LAUNCH_SECONDS, Gpu, gpus, updates_of
from bench.planning.plan import AgentPlan
from bench.planning.plan_text import BEGIN, END, print_plan, write_plan

PHRASES = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
NODES = 4  # the start, "turn", "go", "pick", when every word is a token
VALUE = 16


def cost_of(agent: str, model: str, **options):
    entry = find(agent)
    agent_class = entry.load()
    chosen = {**entry.preset, "model": model, "value_hidden": VALUE, **options}
    return agent_class.cost(agent_class.Config(**chosen), 6)


def test_a_variant_in_a_file_costs_what_its_model_costs(tmp_path):
    code = "from agents.language_model.agent import LanguageModelAgent as Base\n\n\n"
    (tmp_path / "mine.py").write_text(code + "class Mine(Base):\n    pass\n")
    mine = cost_of(f"{tmp_path / 'mine.py'}:Mine", "miniflan")
    theirs = cost_of("gflan-t5", "miniflan")
    assert mine.parameters == theirs.parameters
    drrn = find("drrn").load()
    assert drrn.cost(drrn.Config(), 6) is None


def hand_counted(width: int, inner: int, ff: int, layers: int, length: int) -> int:
    """FLOPs of a prompt through Flan-T5 and its value head, two for each multiplication."""
    encoder = 2 * length * (4 * width * inner + 3 * width * ff) + 4 * length**2 * inner
    decoder = 2 * NODES * (6 * width * inner + 3 * width * ff) + 4 * length * width * inner
    decoder += 4 * NODES**2 * inner + 4 * NODES * length * inner
    heads = 2 * NODES * width * 32128 + 2 * (width * VALUE + VALUE**2 + VALUE)
    return layers * (encoder + decoder) + heads


def test_flops_parameters_and_memory_of_flan_t5_small_are_those_counted_by_hand() -> None:
    sizes = {"max_batch_tokens": 400, "batch_size": 8}
    cost, checkpointing, adapters = (
        cost_of("gflan-t5", "google/flan-t5-small", **sizes, **options)
        for options in ({}, {"activation_checkpointing": True}, {"lora_rank": 4})
    )
    value_head = 512 * VALUE + VALUE + VALUE**2 + VALUE + VALUE + 1
    assert cost.parameters == (76_961_152 + value_head,) * 2  # the published number
    acting = cost.work([[100, 100], [100]], PHRASES, "cuda", learning=False)
    assert acting.flops == pytest.approx(3 * hand_counted(512, 384, 1024, 8, 100), rel=1e-6)
    assert (acting.prompt_tokens, acting.tree_tokens) == (300, 3 * NODES)
    plain = cost.memory([[100] * 64], PHRASES, "cuda")
    assert plain.weights == plain.gradients == plain.optimizer / 2 == 4 * cost.parameters[0]
    # Each encoder layer keeps at least its normed inputs, keys, queries, values and attention.
    least = 8 * 4 * (100 * (4 * 512 + 4 * 384 + 4 * 1024) + 6 * 100**2)
    assert plain.activations > 4 * least
    little = checkpointing.memory([[100] * 64], PHRASES, "cuda")
    assert little.activations < plain.activations / 2
    adapted = adapters.memory([[100] * 64], PHRASES, "cuda")
    assert adapted.optimizer < plain.optimizer / 50


def test_language_models_are_planned_without_their_weights_and_no_one_else() -> None:
    costs = {
        name: entry.load().cost(entry.load().Config(**entry.preset), 6)
        for name, entry in BUILT_IN.items()
        if "smollm2" not in name  # its dimensions are in a package that need not be here
    }
    assert {name for name, cost in costs.items() if cost} == {n for n in costs if "flan" in n}
    assert costs["gflan-t5"].learns
    assert not costs["flan-t5"].learns


def test_unknown_dimensions_are_one_line_that_says_what_to_do() -> None:
    with pytest.raises(AgentError, match=r"dimensions of 'x/y' are not known here.*flan-t5-large"):
        cost_of("gflan-t5", "x/y")


@pytest.mark.parametrize(
    ("flops", "launches", "precision", "seconds"),
    [
        (1e12, 0, "float32", 1 / (10 * EFFICIENCY["float32"])),
        (1e12, 0, "bfloat16", None),
        (1.0, 1e6, "float32", 1e6 * LAUNCH_SECONDS),
    ],
)
def test_seconds_on_a_gpu(flops: float, launches: float, precision: str, seconds) -> None:
    gpu = Gpu("of 10 TFLOP/s", 16, {"float32": 10e12}, "made up")
    assert gpu.seconds(flops, launches, precision) == seconds


def test_a_gpu_is_not_filled_to_the_brim() -> None:
    t4 = next(gpu for gpu in gpus() if gpu.name.startswith("T4"))
    assert t4.holds(14.3e9)
    assert not t4.holds(14.5e9)


@pytest.mark.parametrize(("steps", "updates"), [(1, 1), (1280, 1), (1281, 2), (1_500_000, 1172)])
def test_the_last_update_may_go_over_the_budget(steps: int, updates: int) -> None:
    assert updates_of(steps, 1280) == updates


def test_the_command_plans_agents_that_are_tried() -> None:
    words = [
        "plan",
        "--profile",
        "smoke",
        "--agent",
        "drrn",
        "--agent",
        "random",
        "--seconds",
        "0",
        "--json",
    ]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert done.exception is None
    drrn, random = json.loads(done.output)
    assert drrn["steps"] >= drrn["updates"] > 0 == random["steps"]
    assert drrn["memory"]["float32"]["saved"] > 0
    assert set(drrn["gpu_seconds"]["T4 16GB"].values()) == {None}
    assert drrn["hours"] > 0
    assert random["test_steps"] == drrn["test_steps"] > 0
    assert drrn["hours_of_all_runs"] == pytest.approx(drrn["hours"] * drrn["runs"])


def test_a_plan_is_put_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_plan("new", page)
    assert page.read_text() == f"before\n{BEGIN}\n\n```text\nnew\n```\n\n{END}\nafter\n"


def test_without_splits_no_test_is_planned() -> None:
    options = ("--profile", "smoke", "--agent", "random", "--set", "evaluation.splits=[]")
    done = CliRunner().invoke(cli, ["plan", *options, "--seconds", "0.1", "--json"])
    assert done.exit_code == 0, done.output
    (plan,) = json.loads(done.stdout)
    assert plan["test_steps"] == 0


def test_a_plan_says_whose_hours_its_totals_leave_out() -> None:
    plans = [AgentPlan("small", 2, 0, 0, 0, parameters=5), AgentPlan("drrn", 2, 0, 0, 0)]
    console = Console(file=StringIO(), width=200)
    print_plan("mine", plans, "cpu", console, "glam plan")
    assert "- all seeds on a GPU: without drrn\n" in console.file.getvalue()
    console = Console(file=StringIO(), width=200)
    print_plan("mine", plans[:1], "cpu", console, "glam plan")
    assert "all seeds on a GPU" not in console.file.getvalue()


class OneTokenAWord:
    """A cost of round numbers: 10 tokens a prompt, 100 FLOPs, 300 with the backward pass."""

    options = LanguageModelConfig(rollout_length=5, epochs=3, batch_size=4)
    parameters = (10, 10)
    sources = ()

    def lengths(self, prompts):
        return [10] * len(prompts)

    def work(self, batches, phrases, device, *, learning):
        prompts = sum(map(len, batches))
        return Work(10.0 * prompts, 2.0 * prompts, prompts * (300.0 if learning else 100.0), 0.0)

    def memory(self, *arguments):
        return Memory(1, 1, 2, 3)

    def speed(self, *arguments):
        return Speed(forward=100.0, learning=300.0, peak=1000.0)


def test_work_of_rollouts_updates_and_tests_is_counted_by_hand() -> None:
    config = small_config()  # 256 steps in 4 environments: 13 updates of 20
    seen = config.environment.build().reset(seed=0)[0]
    play = random_play.RandomPlay(((seen,) * 4,) * 3, seconds_per_step=0.5, test_lengths={})
    plan = AgentPlan("agent", 1, 0, 0, test_steps=20)
    planning._estimate(plan, config, OneTokenAWord(), play, learns=True)
    assert (plan.updates, plan.steps) == (13, 260)
    read = 260 * 6 // 5  # the views after the last step too
    prompts = {"rollouts": read, "updates": 3 * 260, "tests": 20}
    for name, count in prompts.items():
        assert plan.tokens[f"{name}: prompts"] == pytest.approx(10 * count)
        assert plan.tokens[f"{name}: actions"] == pytest.approx(2 * count)
        each = 300 if name == "updates" else 100
        assert plan.flops[name] == pytest.approx(each * count)
    assert plan.seconds["training"] == pytest.approx(read + 3 * 260 + 0.5 * 260)
    assert plan.seconds["tests"] == pytest.approx(20 + 0.5 * 20)


def test_hours_are_of_3600_seconds_and_a_gpu_waits_for_the_environments() -> None:
    seconds = {"training": 3600.0, "tests": 1800.0}
    plan = AgentPlan("a", 2, 0, 0, 0, flops={"tests": 1e12}, seconds=seconds, parameters=5)
    assert plan.hours == 1.5
    assert plan.to_json()["hours_of_all_runs"] == 3.0
    plan.environment_seconds = 7.0
    gpu = Gpu("of 10 TFLOP/s", 16, {"float32": 10e12}, "made up")
    expected = 7 + 1 / (10 * EFFICIENCY["float32"])
    assert planning._on_gpu(plan, gpu, "float32") == pytest.approx(expected)


@pytest.fixture
def ticks(monkeypatch):
    """A clock that is a second later whenever it is read."""
    clock = SimpleNamespace(perf_counter=map(float, itertools.count()).__next__)
    for module in (random_play, trial):
        monkeypatch.setattr(module, "time", clock)


def test_the_pace_of_the_environments_is_that_of_one(ticks) -> None:
    config = small_config("random", evaluation=EvaluationConfig(splits=()))
    assert random_play.play_at_random(config).seconds_per_step == pytest.approx(1 / 4)


class Hoarder(Agent):
    """Takes a step an update and saves ten bytes more for each."""

    steps = 0

    def act(self, observations):
        return [0] * len(observations)

    def update(self, envs):
        envs.step([0] * envs.n_envs)
        self.steps = envs.steps
        return {}

    def save(self, directory):
        (directory / "hoard").write_bytes(bytes(10 * self.steps))


def test_a_trial_tells_seconds_and_bytes_of_one_step(ticks) -> None:
    config = small_config()
    agent = Hoarder(None, AgentContext(n_envs=4))
    tried = trial.try_training(agent, config, 6.0)
    assert tried.steps_per_update == 4
    assert tried.checkpoint_bytes == 10 * agent.steps
    assert tried.growth_per_step == pytest.approx(10)
    tested = trial.try_testing(agent, config, 4.0)
    assert tested.seconds_per_step == pytest.approx(1 / 3)  # three play side by side


def test_environments_of_an_agent_that_is_only_tested_take_time_too() -> None:
    words = ["plan", "--profile", "smoke", "--agent", "random", "--seconds", "0", "--json"]
    (random,) = json.loads(CliRunner().invoke(cli, words).stdout)
    assert random["steps"] == 0
    assert random["environment_seconds"] > 0
