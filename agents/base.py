"""The contract every agent is written against."""

from __future__ import annotations

import sysconfig
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envs.observation import Observation
from envs.text_env import TextEnv
from envs.vector import VectorEnv

_PYTHON = sysconfig.get_path("stdlib")


class AgentError(ValueError):
    """An agent that cannot be found, built or resumed; the message says what to do."""


@contextmanager
def speaking_for(who: str) -> Iterator[None]:
    """Raises whatever the agent's code raises, ``SystemExit`` too, as an error that names it.

    Args:
        who: The agent and what it was doing, such as ``"agent 'drrn', update 3"``.

    Raises:
        AgentError: In place of any other exception.
    """
    try:
        yield
    except AgentError as error:
        raise AgentError(f"{who}: {error}") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        # Where the agent's author would look: not in a library, and in ours if in nothing else.
        written = [frame for frame in frames if not _is_library(frame.filename)]
        theirs = [frame for frame in written if not is_ours(Path(frame.filename))]
        place = (theirs or written or frames)[-1]
        raise AgentError(
            f"{who}: {type(error).__name__}: {error}".rstrip(": ")
            + f" ({Path(place.filename).name}, line {place.lineno})"
        ) from error


def _is_library(filename: str) -> bool:
    """Whether code is an installed package's or Python's own."""
    return "site-packages" in filename or filename.startswith((_PYTHON, "<frozen"))


def is_ours(file: Path) -> bool:
    """Whether a file of code belongs to the benchmark, whose commit tells what was in it."""
    root = Path(__file__).parents[1]
    return any(file.is_relative_to(root / package) for package in ("agents", "bench", "envs"))


@dataclass(frozen=True)
class AgentContext:
    """What the harness tells every agent.

    Attributes:
        n_envs: Number of training environments.
        device: Torch device name.
        seed: The run's seed; all randomness of the agent comes from it.
        n_actions: Size of the action set.
        history: Largest number of views in an observation.
        world_size: Number of processes that train the run together; more than one only for an
            agent that is ``data_parallel``.
        rank: This process's number among them, from 0.
        training_steps: Environment steps of the whole run, all environments together; None if
            unknown.
    """

    n_envs: int = 1
    device: str = "cpu"
    seed: int = 0
    n_actions: int = 6
    history: int = 3
    world_size: int = 1
    rank: int = 0
    training_steps: int | None = None

    def seeds(self, count: int) -> list[int]:
        """Seeds that follow from the run's, for streams of randomness that must be independent.

        Args:
            count: How many; the first ones do not depend on it.

        Returns:
            32-bit numbers, such as one for weights and one for sampled actions.
        """
        return [int(word) for word in np.random.SeedSequence(self.seed).generate_state(count)]


@dataclass(frozen=True)
class PolicyOutput:
    """What an agent makes of observations, for people who look on.

    Attributes:
        probabilities: (batch, n_actions) chance of each action, rows summing to 1.
        values: (batch,) return the agent expects, in its own scale of rewards; None if it does
            not estimate any.
    """

    probabilities: NDArray[np.floating]
    values: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class NoConfig:
    """The configuration of an agent without options."""


class Agent(ABC):
    """An agent: acts on observations, learns from environments, can be saved and restored.

    The harness owns budget, logging, checkpoints and evaluation; the environments count steps and
    record episodes.

    Attributes:
        Config: Frozen dataclass of the agent's options; every default stands there.
        learns: False for an agent that is only evaluated.
        privileged: True for a reference that looks behind the observations; it is shown the
            environments through :meth:`attach`.
        data_parallel: True for an agent whose :meth:`update` shares its work with the other
            processes of ``accelerate launch``. All of them are given the same environments, must
            take the same actions and learn the same; the other methods are called in any of them
            alone.
    """

    Config: ClassVar[type] = NoConfig
    learns: ClassVar[bool] = True
    privileged: ClassVar[bool] = False
    data_parallel: ClassVar[bool] = False

    def __init__(self, config: Any, context: AgentContext) -> None:
        """Keeps what the agent was built from.

        Args:
            config: An instance of ``Config``.
            context: What the harness tells every agent.
        """
        self.config = config
        self.context = context

    @abstractmethod
    def act(self, observations: Sequence[Observation]) -> NDArray[np.integer]:
        """Chooses actions, for evaluation; changes nothing in the agent.

        An agent that samples uses ``observation.draw``, so that an episode does not depend on
        which others are played beside it (see :func:`sample_actions`).

        Args:
            observations: Any number of observations.

        Returns:
            (len(observations),) action indices.
        """

    def policy_output(self, observations: Sequence[Observation]) -> PolicyOutput | None:
        """Says how likely each action is, for replays and figures; changes nothing in the agent.

        Args:
            observations: Any number of observations.

        Returns:
            The probabilities that :meth:`act` samples from; None if the agent does not tell.
        """
        return None

    def update(self, envs: VectorEnv) -> Mapping[str, float]:
        """One round: interact with the environments, learn, return what to log.

        Args:
            envs: The training environments; whatever is stepped counts.

        Returns:
            Numbers to log, under the same names every round.

        Raises:
            AgentError: If the agent does not learn.
        """
        name = type(self).__name__
        if self.learns:
            raise AgentError(f"{name} has no update(envs); if it does not learn: learns = False")
        raise AgentError(f"{name} does not learn; it can only be evaluated")

    def save(self, directory: Path) -> None:
        """Writes everything a resumed run needs: weights, optimiser, replay, generators.

        Args:
            directory: An existing, empty directory.

        Raises:
            AgentError: If the agent learns but does not say how to save what it learned.
        """
        if self.learns:
            raise AgentError(f"{type(self).__name__} learns, so it must implement save and load")

    def load(self, directory: Path) -> None:
        """Restores what :meth:`save` wrote.

        Args:
            directory: A directory that :meth:`save` filled.

        Raises:
            AgentError: If the agent learns but does not say how to restore what it learned.
        """
        if self.learns:
            raise AgentError(f"{type(self).__name__} learns, so it must implement save and load")

    def identity(self) -> Mapping[str, Any]:
        """What the records should say about this agent.

        Returns:
            ``label``: name in tables, at most 80 letters, digits and ordinary marks; ``model``:
            mapping with ``name``, ``pretrained`` and ``weights_sha256`` where there is a model
            (None for weights that nobody can hash, as behind an API).
        """
        return {"label": type(self).__name__, "model": {}}

    @classmethod
    def weight_files(cls, config: Any) -> Sequence[Path]:
        """Where pretrained weights come from, told without opening them.

        Args:
            config: An instance of ``Config``.

        Returns:
            Files on this machine, in a fixed order; none if nothing is pretrained, or if that is
            not known before the model is opened.
        """
        return ()

    @classmethod
    def cost(cls, config: Any, n_actions: int) -> Any | None:
        """What can tell the agent's cost before it is built, for ``glam plan``.

        Args:
            config: An instance of ``Config``.
            n_actions: Size of the action set.

        Returns:
            Of a language model a ``LanguageModelCost``; None if the cost is only known by trying.

        Raises:
            AgentError: If the model's dimensions are not known here.
        """
        return None

    def begin_test(self) -> None:  # noqa: B027  # most agents need none
        """Forgets what was kept from other tests; called before each split.

        An interrupted test is replayed from its start by another process, so caches must not
        change even the rounding.
        """

    def attach(self, envs: Sequence[TextEnv]) -> None:  # noqa: B027  # most agents need none
        """Shows a privileged agent the environments behind the next observations.

        Args:
            envs: One environment for each observation passed to :meth:`act`, in the same order.
        """


def sample_actions(
    probabilities: NDArray[np.floating], observations: Sequence[Observation]
) -> NDArray[np.int64]:
    """Samples one action for each observation with the observation's own draw.

    Args:
        probabilities: (batch, n_actions), none negative; rows are scaled to sum to 1.
        observations: (batch,) observations.

    Returns:
        (batch,) action indices, by inversion of the cumulative distribution.

    Raises:
        AgentError: If a row is no distribution, as where a network's weights have become NaN.
    """
    probabilities = np.asarray(probabilities, np.float64)
    cumulative = np.cumsum(probabilities, axis=1)
    total = cumulative[:, -1]
    wrong = ~((probabilities >= 0).all(axis=1) & np.isfinite(total) & (total > 0))
    if wrong.any():
        raise AgentError(
            f"the policy is no distribution: {list(map(float, probabilities[wrong][0]))}"
        )
    draws = np.array([observation.draw for observation in observations])
    chosen = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(chosen, cumulative.shape[1] - 1), np.int64)
