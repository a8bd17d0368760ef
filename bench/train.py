"""The training loop: budget, logging, checkpoints and their restoration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from agents.base import Agent, speaking_for
from bench.config import RunConfig
from bench.learning_round import learning_round
from bench.probes import ProbeLog
from bench.processes import ALONE, Processes
from bench.progress import RunProgress
from bench.storage import atomic
from bench.storage.checkpoint import Checkpoint, CheckpointError
from bench.storage.row_file import EPISODE_COLUMNS, METRIC_COLUMNS, Value
from bench.storage.run import RunDirectory
from bench.storage.tensorboard_log import TensorBoardLog
from envs import Episode, VectorEnv

STATE_FORMAT = 2


def train(
    agent: Agent,
    config: RunConfig,
    run: RunDirectory,
    progress: RunProgress,
    check_stop: Callable[[], None],
    processes: Processes = ALONE,
) -> int:
    """Trains to the step budget, from the newest checkpoint if there is one.

    Args:
        agent: The agent as it was built, untrained.
        config: The run.
        run: Where it is recorded.
        progress: Told after every update.
        check_stop: Called after every update, when everything is saved that must be; raises to
            stop.
        processes: Those that train the run together; all must call this.

    Returns:
        Environment steps taken; the run's checkpoint holds the trained agent.

    Raises:
        AgentError: If the agent raises, takes no step in an update, or returns what cannot be
            logged; names the update. The rows and the checkpoints so far are kept.
        CheckpointError: If there are checkpoints but none to go on from.
        OSError: If something cannot be written; the last checkpoint is whole.
    """
    envs = VectorEnv(config.environment.build, config.train.n_envs, config.seed)
    try:
        training = _Training(agent, config, run, envs, processes)
        curves = run.path / "tensorboard" if processes.is_main else None
        with closing(TensorBoardLog(curves, envs.steps)) as board:
            return training.to_the_end(progress, check_stop, board)
    finally:
        envs.close()


class _Training:
    """Counters of a training run; together with agent and environments, all that is resumed."""

    def __init__(
        self,
        agent: Agent,
        config: RunConfig,
        run: RunDirectory,
        envs: VectorEnv,
        processes: Processes,
    ) -> None:
        self._agent, self._config, self._run, self._envs = agent, config, run, envs
        self._processes = processes
        self._updates = 0
        self._episodes = 0
        self._logged: tuple[str, ...] | None = None
        self._saved_at = 0
        self._probes = ProbeLog(agent, config, run.probes)
        self._restore()

    def to_the_end(
        self, progress: RunProgress, check_stop: Callable[[], None], board: TensorBoardLog
    ) -> int:
        budget = self._config.train.steps
        progress.resume_at(self._envs.steps)
        while self._envs.steps < budget:
            numbers, ended = self._update()
            solved = [episode.success for episode in ended]
            progress.update(self._envs.steps, solved)
            board.add(self._envs.steps, numbers, solved)
            if self._envs.steps - self._saved_at >= self._config.train.checkpoint_every:
                self._save()
            try:
                check_stop()
            except BaseException:
                self._save()
                raise
        self._save()
        self._processes.from_main(self._run.checkpoints.keep_newest)
        return self._envs.steps

    def _update(self) -> tuple[dict[str, float], list[Episode]]:
        before = self._envs.steps
        self._updates += 1
        where = f"agent {self._config.agent!r}, update {self._updates}"
        with speaking_for(where):
            numbers = learning_round(self._agent, self._envs, self._logged)
        ended = self._envs.pop_episodes()
        if self._processes.is_main:
            self._log_metrics(numbers)
            self._run.episodes.append(
                _episode_row(self._episodes + i, episode) for i, episode in enumerate(ended)
            )
            self._episodes += len(ended)
            self._probes.passed(before, self._envs.steps)
        return numbers, ended

    def _log_metrics(self, numbers: Mapping[str, float]) -> None:
        rows: list[tuple[Value, ...]] = []
        if self._logged is None:
            self._logged = tuple(numbers)
            rows.append((*METRIC_COLUMNS, *numbers))
        rows.append((self._updates, self._envs.steps, *map(numbers.__getitem__, self._logged)))
        self._run.metrics.append(rows)

    def _save(self) -> None:
        if self._envs.steps != self._saved_at:
            self._processes.from_main(self._write_checkpoint)
            self._saved_at = self._envs.steps

    def _write_checkpoint(self) -> None:
        run = self._run
        for path in (run.metrics.path, run.episodes.path, run.probes.path, run.path):
            if path.exists():  # an agent that does not tell its probabilities leaves no probes
                atomic.sync(path)
        state = {
            "format": STATE_FORMAT,
            "updates": self._updates,
            "episodes": self._episodes,
            "rows": {
                "metrics": run.metrics.mark(),
                "episodes": run.episodes.mark(),
                "probes": run.probes.mark(),
            },
            "envs": self._envs.state(),
        }
        run.checkpoints.save(self._envs.steps, state, self._save_agent)
        run.update_manifest("running", steps=self._envs.steps)

    def _save_agent(self, directory: Path) -> None:
        with speaking_for(f"agent {self._config.agent!r}, saving after update {self._updates}"):
            self._agent.save(directory)

    def _restore(self) -> None:
        checkpoint = self._processes.from_main(self._restore_rows)
        if checkpoint is None:
            return
        state = checkpoint.state
        self._updates, self._episodes = state["updates"], state["episodes"]
        self._envs.restore(state["envs"])
        load_agent(self._agent, self._config, checkpoint)
        self._saved_at = self._envs.steps

    def _restore_rows(self) -> Checkpoint | None:
        run = self._run
        checkpoint = run.checkpoints.latest()
        if checkpoint is None:
            run.metrics.clear()
            run.episodes.clear()
            run.episodes.append([EPISODE_COLUMNS])
            self._probes.start()
            return None
        state = checkpoint.state
        if state.get("format") != STATE_FORMAT:
            raise CheckpointError(f"{checkpoint.directory} has another format than {STATE_FORMAT}")
        run.metrics.cut_back(state["rows"]["metrics"])
        run.episodes.cut_back(state["rows"]["episodes"])
        if state["rows"].get("probes", {}).get("size"):
            run.probes.cut_back(state["rows"]["probes"])
        else:
            run.probes.clear()
        header = run.metrics.header()
        self._logged = tuple(header[len(METRIC_COLUMNS) :]) if header else None
        return checkpoint


def load_agent(agent: Agent, config: RunConfig, checkpoint: Checkpoint) -> None:
    """Restores an agent.

    Args:
        agent: The agent as it was built.
        config: The run.
        checkpoint: Where it was saved.

    Raises:
        AgentError: If it raises.
    """
    with speaking_for(f"agent {config.agent!r}, loading {checkpoint.directory}"):
        agent.load(checkpoint.agent_directory)


def _episode_row(number: int, episode: Episode) -> tuple[Value, ...]:
    return (
        number,
        episode.env,
        episode.steps,
        episode.seed,
        episode.task_kind,
        f"{episode.episode_return:.6g}",
        episode.success,
        episode.length,
        episode.truncated,
    )
