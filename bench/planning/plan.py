"""What a profile costs before anything is spent: steps, tokens, FLOPs, memory and hours."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from agents.base import speaking_for
from agents.registry import find
from bench.config import RunConfig
from bench.lifecycle import build_agent, device_here
from bench.planning.gpus import Gpu, gpus, updates_of
from bench.planning.random_play import RandomPlay, play_at_random
from bench.planning.trial import try_testing, try_training
from bench.profile import Profile
from bench.storage import provenance
from bench.validation import validated

_LONGEST_UPDATE = 60.0  # seconds; an agent that needs more is not tried but reckoned
_BATCHES = 8
_GPU = "cuda"  # on a CPU a batch is cut into more passes, with a little less padding


@dataclass
class AgentPlan:
    """The cost of one run of an agent, from one seed.

    Attributes:
        agent: Its name in the profile.
        runs: Number of seeds.
        steps: Environment steps of training.
        updates: Updates in them.
        test_steps: Environment steps of all test episodes, if they are as long as Random's.
        tokens: Prompt tokens and tokens of the actions' tree read in rollouts, updates and tests;
            empty for agents that are no language models.
        flops: FLOPs of a language model in rollouts, updates and tests.
        launches: Operations handed to the device in all of them.
        environment_seconds: Share of the environments, on this machine.
        seconds: Of training and of tests on this machine.
        timed_by: ``"trial"``: a short real training and test; ``"flops"``: by FLOPs and the
            measured speed of two layers of the model's width.
        efficiency: Share of a matrix product's peak that those two layers reached; None if tried.
        parameters: Of a language model; None otherwise.
        memory: Bytes by part on a device at the profile's options; what the agent saves at the
            end of training where it is no language model.
        precision: Numbers it computes in.
        gpu_seconds: By GPU and precision; None where the GPU lacks it, and of agents that are no
            language models.
        notes: Where numbers come from.
    """

    agent: str
    runs: int
    steps: int
    updates: int
    test_steps: int
    tokens: dict[str, float] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    launches: float = 0.0
    environment_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    timed_by: str = "trial"
    efficiency: float | None = None
    parameters: int | None = None
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    precision: str = "float32"
    gpu_seconds: dict[str, dict[str, float | None]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def hours(self) -> float:
        """Hours of one run on this machine."""
        return sum(self.seconds.values()) / 3600

    def to_json(self) -> dict[str, Any]:
        """The fields, and the hours of one run and of all."""
        return {**asdict(self), "hours": self.hours, "hours_of_all_runs": self.hours * self.runs}


def plan_profile(profile: Profile, seconds: float) -> list[AgentPlan]:
    """Plans every agent of a profile.

    Args:
        profile: The profile, with its overrides.
        seconds: Time of each trial, of training and of testing.

    Returns:
        One plan an agent, in the profile's order.

    Raises:
        AgentError: If an agent cannot be tried or its dimensions are not known.
        ConfigError: If a setting cannot be used.
    """
    plans: list[AgentPlan] = []
    play: RandomPlay | None = None
    for config in profile.runs(profile.seeds[:1]):
        here = replace(config, device=device_here(config.device))
        play = play or play_at_random(here)
        plans.append(_plan(here, len(profile.seeds), play, seconds))
        gc.collect()  # shallow models of a large width are gigabytes, and refer to each other
    return plans


def machine_line(device: str) -> str:
    """This machine in one line."""
    machine = provenance.machine(1)
    return f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {device}"


def _plan(config: RunConfig, runs: int, play: RandomPlay, seconds: float) -> AgentPlan:
    agent_class = find(config.entry).load()
    options: Any = validated(agent_class.Config, config.agent_options, f"agents.{config.agent}")
    test_steps = round(config.evaluation.episodes * sum(play.test_lengths.values()))
    plan = AgentPlan(config.agent, runs, 0, 0, test_steps)
    with speaking_for(f"agent {config.agent!r}, cost()"):
        cost = agent_class.cost(options, config.environment.n_actions)
    if cost is not None:
        _estimate(plan, config, cost, play, learns=agent_class.learns)
        an_update = plan.seconds.get("training", 0.0) / max(plan.updates, 1)
        if not cost.weights_here or an_update > _LONGEST_UPDATE:
            plan.timed_by = "flops"
    if plan.timed_by == "trial":
        _try(plan, config, seconds, learns=agent_class.learns)
    plan.environment_seconds = (plan.steps + plan.test_steps) * play.seconds_per_step
    for gpu in gpus():
        plan.gpu_seconds[gpu.name] = {p: _on_gpu(plan, gpu, p) for p in ("float32", "bfloat16")}
    return plan


def _estimate(
    plan: AgentPlan, config: RunConfig, cost: Any, play: RandomPlay, *, learns: bool
) -> None:
    """Fills in a language model's work, time and memory from a sample of prompts."""
    phrases = play.rounds[0][0].action_phrases
    rounds = [cost.lengths([seen.prompt() for seen in now]) for now in play.rounds]
    lengths = [length for now in rounds for length in now]
    tests = _shuffled(lengths, min(config.evaluation.n_envs, config.evaluation.episodes))
    at_once = tests
    parts = {"tests": (cost.work(tests, phrases, _GPU, learning=False), tests, plan.test_steps)}
    if learns:
        options = cost.options
        plan.updates = updates_of(config.train.steps, options.rollout_length * config.train.n_envs)
        plan.steps = plan.updates * options.rollout_length * config.train.n_envs
        # The views after the last step are scored too.
        read = round(plan.steps * (1 + 1 / options.rollout_length))
        acting = cost.work(rounds, phrases, _GPU, learning=False)
        at_once = _shuffled(lengths, options.batch_size)
        learning = cost.work(at_once, phrases, _GPU, learning=True)
        parts["rollouts"] = (acting, rounds, read)
        parts["updates"] = (learning, at_once, plan.steps * options.epochs)
    for name, (work, batches, prompts) in parts.items():
        share = prompts / sum(map(len, batches))
        plan.tokens[f"{name}: prompts"] = work.prompt_tokens * share
        plan.tokens[f"{name}: actions"] = work.tree_tokens * share
        plan.flops[name] = work.flops * share
        plan.launches += work.launches * share
    plan.parameters = cost.parameters[0]
    plan.precision = cost.options.precision
    for precision in ("float32", "bfloat16"):
        memory = cost.memory(at_once, phrases, _GPU, precision)
        plan.memory[precision] = {**asdict(memory), "total": memory.total}
    plan.notes = cost.sources
    mean_length = round(float(np.mean(lengths)))
    _time_by_flops(plan, config, cost, play, phrases, mean_length, learns=learns)


def _time_by_flops(
    plan: AgentPlan,
    config: RunConfig,
    cost: Any,
    play: RandomPlay,
    phrases: tuple[str, ...],
    length: int,
    *,
    learns: bool,
) -> None:
    """Divides the work by the measured speed of a shallow model on prompts of a length."""
    threads = min(config.threads, provenance.available_cores())
    speed = cost.speed(length, phrases, config.device, threads)
    plan.efficiency = (speed.learning or speed.forward) / speed.peak
    acting_seconds = plan.flops.get("rollouts", 0.0) / speed.forward
    learning_seconds = plan.flops["updates"] / speed.learning if learns else 0.0
    per_step = play.seconds_per_step
    plan.seconds = {
        "training": acting_seconds + learning_seconds + plan.steps * per_step,
        "tests": plan.flops["tests"] / speed.forward + plan.test_steps * per_step,
    }


def _try(plan: AgentPlan, config: RunConfig, seconds: float, *, learns: bool) -> None:
    """Times a short real training and test."""
    agent = build_agent(config)
    plan.efficiency = None
    plan.seconds = {}
    if learns:
        trial = try_training(agent, config, seconds)
        plan.updates = updates_of(config.train.steps, trial.steps_per_update)
        plan.steps = plan.updates * trial.steps_per_update
        plan.seconds["training"] = plan.steps * trial.seconds_per_step
        if not plan.parameters:
            saved = trial.checkpoint_bytes + round(trial.growth_per_step * plan.steps)
            plan.memory["float32"] = {"saved": saved}
    if plan.test_steps:
        tested = try_testing(agent, config, seconds / 2)
        plan.seconds["tests"] = plan.test_steps * tested.seconds_per_step


def _shuffled(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Some batches of a sample's prompts, drawn as a minibatch is."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(lengths, size).tolist() for _ in range(_BATCHES)]
    return drawn


def _on_gpu(plan: AgentPlan, gpu: Gpu, precision: str) -> float | None:
    if plan.parameters is None:
        return None
    seconds = gpu.seconds(sum(plan.flops.values()), plan.launches, precision)
    return None if seconds is None else seconds + plan.environment_seconds
