"""A run's directory: its config, manifest, rows and checkpoints, with one writer at a time.

Layout::

    <out>/<profile>/<agent>/seed-<n>/config.json       resolved config
                                     manifest.json     state and provenance
                                     metrics.csv       one row per update
                                     episodes.csv      one row per training episode
                                     probes.csv        answers to fixed prompts over training
                                     evaluation/<split>.csv   one row per test episode
                                     evaluation/<split>.part  of a test that goes on
                                     replays/<split>.csv      one row per step of two of them
                                     checkpoint/       what a resumed run needs
                                     train.log, tensorboard/  for people
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from agents.base import is_ours
from bench.config import RunConfig
from bench.storage import atomic, provenance
from bench.storage.agent_code import agent_code_hash
from bench.storage.checkpoint import CheckpointStore
from bench.storage.first_manifest import first_manifest, now
from bench.storage.lock import locked
from bench.storage.manifest import State, origins, read_manifest
from bench.storage.parsing import RecordError, read_json
from bench.storage.row_file import EVALUATION_COLUMNS, RowFile, Value, format_rows
from bench.validation import ConfigError


class RunError(ValueError):
    """A run directory that cannot be used as asked; the message is one line and says what to do."""


class RunFailed(Exception):
    """A run that began and could not be finished; the message is one line."""


class RunDirectory:
    """One run on the disk."""

    def __init__(self, path: Path) -> None:
        """Looks at a directory, which need not exist yet.

        Args:
            path: ``<out>/<profile>/<agent>/seed-<n>``.
        """
        self.path = path
        self.metrics = RowFile(path / "metrics.csv")
        self.episodes = RowFile(path / "episodes.csv")
        self.probes = RowFile(path / "probes.csv")
        self.checkpoints = CheckpointStore(path / "checkpoint")
        self.log = path / "train.log"
        self._code: dict[str, Any] = {}  # what works on the run in this process

    @classmethod
    def of(cls, out: Path, config: RunConfig) -> RunDirectory:
        """The directory of a run.

        Args:
            out: Where all profiles' runs are kept.
            config: The run.
        """
        return cls(out / config.profile / config.agent / f"seed-{config.seed}")

    def manifest(self) -> dict[str, Any] | None:
        """The manifest; None if the run was never started.

        Raises:
            RecordError: If it cannot be read.
        """
        path = self.path / "manifest.json"
        return read_manifest(path) if path.exists() else None

    def config(self) -> RunConfig:
        """The run's resolved config.

        Raises:
            RunError: If there is none.
            RecordError: If it cannot be read.
        """
        path = self.path / "config.json"
        if not path.exists():
            raise RunError(f"{self.path} holds no run (no config.json inside)")
        try:
            return RunConfig.from_json(read_json(path))
        except ConfigError as error:
            raise RecordError(path, str(error)) from error

    def state(self) -> State | None:
        """The manifest's state; None if the run was never started."""
        manifest = self.manifest()
        return None if manifest is None else manifest["state"]

    @property
    def begun(self) -> bool:
        """Whether there are rows or checkpoints, which starting over would lose."""
        kept = (self.metrics.path, self.checkpoints.directory, self.path / "evaluation")
        return any(path.exists() for path in kept)

    @property
    def lock_path(self) -> Path:
        """File that is locked while a process works on the run, with that process's id."""
        path = self.path.resolve()  # one lock, however the path is written
        return path.with_name(f".{path.name}.lock")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps every other process off this run; a dead process's lock is void.

        Raises:
            RunError: If another process holds it, naming its pid.
        """
        with locked(self.lock_path, lambda held: RunError(f"{self.path} is {held}")):
            atomic.remove_leftovers(self.path)
            yield

    def evaluated(self) -> list[str]:
        """Splits of which there are rows of test episodes."""
        return sorted(path.stem for path in (self.path / "evaluation").glob("*.csv"))

    def set_aside(self) -> Path:
        """Moves what is there out of the way, under a name that is not read as a run.

        Returns:
            Where it is now.
        """
        number = 1
        while (aside := self.path.with_name(f"old-{self.path.name}-{number}")).exists():
            number += 1
        os.rename(self.path, aside)
        return aside

    def create(
        self, config: RunConfig, identity: Mapping[str, Any], learns: bool, processes: int = 1
    ) -> None:
        """Starts the record of a run.

        Args:
            config: The run.
            identity: What the agent says of itself: ``label`` and ``model``.
            learns: Whether it is trained at all.
            processes: Number of processes that train it.
        """
        # First, as it asks the agent's code: what raises leaves nothing behind.
        manifest = first_manifest(config, identity, learns=learns, processes=processes)
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_config(config)
        atomic.write_json(self.path / "manifest.json", manifest)

    def note_origin(self, agent_class: type, threads: int, device: str) -> bool:
        """Adds code, versions and machine to those that worked on the run, if they are others.

        Args:
            agent_class: The agent's class; of the benchmark's own the commit tells.
            threads: CPU threads it uses now.
            device: Torch device it uses now.

        Returns:
            Whether the agent is code in a file, and another version of it began the run.
        """
        manifest = self.manifest() or {}
        here = provenance.origin(threads, device)
        if here != origins(manifest)[-1]:
            manifest["later_origins"] = [*manifest.get("later_origins", ()), here]
        self._code = {"git": here["git"], "versions": here["versions"]}
        if not is_ours(Path(inspect.getfile(agent_class))):
            self._code["code_sha256"] = agent_code_hash(agent_class)
            noted = [*manifest.get("code_sha256", ()), self._code["code_sha256"]]
            manifest["code_sha256"] = list(dict.fromkeys(noted))
        atomic.write_json(self.path / "manifest.json", manifest)
        return len(manifest.get("code_sha256", ())) > 1

    def write_config(self, config: RunConfig) -> None:
        """Writes ``config.json``."""
        atomic.write_json(self.path / "config.json", config.to_json())

    def update_manifest(self, state: State, **fields: Any) -> None:
        """Records a new state.

        Args:
            state: The state; ``"complete"`` and ``"failed"`` are stamped with the time.
            **fields: Other fields of the manifest to replace.
        """
        manifest = self.manifest() or {}
        ended = now() if state in ("complete", "failed") else None
        manifest.update(state=state, error=None, finished=ended)
        manifest.update(fields)
        atomic.write_json(self.path / "manifest.json", manifest)

    def add_wall_seconds(self, phase: Literal["train", "evaluate"], seconds: float) -> None:
        """Adds to the wall time of a phase; a run may take several sessions."""
        manifest = self.manifest() or {}
        spent = manifest["wall_seconds"]
        spent[phase] = round(spent[phase] + seconds, 1)
        atomic.write_json(self.path / "manifest.json", manifest)

    def evaluation(self, split: str) -> Path:
        """Where a split's test episodes are kept."""
        return self.path / "evaluation" / f"{split}.csv"

    def replays(self, split: str) -> Path:
        """Where the steps of some of a split's test episodes are kept."""
        return self.path / "replays" / f"{split}.csv"

    def write_evaluation(
        self, split: str, rows: Iterable[Sequence[Value]], replays: Iterable[Sequence[Value]]
    ) -> None:
        """Puts a split's test episodes in place, all at once.

        Args:
            split: Name of the split.
            rows: One row per episode, under ``EVALUATION_COLUMNS``.
            replays: Rows of ``replays/<split>.csv``, its header first.
        """
        # The episodes last: where they are, the split is done.
        for path, content in (
            (self.replays(split), replays),
            (self.evaluation(split), [EVALUATION_COLUMNS, *rows]),
        ):
            path.parent.mkdir(exist_ok=True)
            atomic.write_text(path, format_rows(content))
        self._parts(split).unlink(missing_ok=True)

    def tested_parts(self, split: str) -> list[Any]:
        """Test episodes of a split that was not played to its end, as JSON values.

        Those that other code played are not: a test is of one agent.

        Raises:
            ValueError: If they cannot be read.
        """
        path = self._parts(split)
        if not path.exists():
            return []
        origin, *episodes = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return episodes if origin == self._code else []

    def keep_part(self, split: str, episodes: Iterable[Mapping[str, Any]]) -> None:
        """Keeps test episodes until the split has been played to its end.

        Args:
            split: Name of the split.
            episodes: All so far, as JSON values; :meth:`tested_parts` gives them back.
        """
        path = self._parts(split)
        path.parent.mkdir(exist_ok=True)
        lines = [json.dumps(each) + "\n" for each in (self._code, *episodes)]
        atomic.write_text(path, "".join(lines))

    def _parts(self, split: str) -> Path:
        return self.path / "evaluation" / f"{split}.part"

    def tested(self, split: str, episodes: int) -> bool:
        """Whether a split's test episodes are there, as many as asked for."""
        path = self.evaluation(split)
        return path.exists() and path.read_bytes().count(b"\n") == episodes + 1
