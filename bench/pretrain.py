"""Pretraining of MiniFlan, which ships with the benchmark: resumable and recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.registry import load_pretraining
from bench.interruption import StopSignal
from bench.memory import keep_freed_memory, resume_collection
from bench.progress import RunProgress
from bench.settings_yaml import parse_yaml
from bench.storage import atomic
from bench.storage.checkpoint import CheckpointStore
from bench.storage.lock import locked
from bench.storage.parsing import read_json
from bench.storage.row_file import RowFile
from bench.storage.run_log import logging_to
from bench.validation import ConfigError, validated

LOG_EVERY = 50
VALIDATE_EVERY = 2000


def pretrain(
    directory: Path, console: Console, overrides: Sequence[str] = (), threads: int = 1
) -> Path:
    """Pretrains MiniFlan, or resumes what an earlier call left.

    Args:
        directory: Where rows, checkpoints and at last the model are kept.
        console: Shows how far it is.
        overrides: ``option=number`` in place of the defaults.
        threads: Threads of PyTorch.

    Returns:
        Folder of the pretrained model, which transformers opens.

    Raises:
        ConfigError: If an option is not valid, or the directory holds a pretraining with others
            or is in use by another process.
        CheckpointError: If its checkpoints are damaged.
        Interrupted: If a signal asked to stop; everything is saved.
    """
    keep_freed_memory()
    import torch

    kind = load_pretraining()
    options: Any = validated(kind.Config, _options(overrides), "pretraining")
    torch.set_num_threads(threads)
    work = kind(options)
    resume_collection()
    config = {"model": "miniflan", "threads": threads, **asdict(options)}
    stop = StopSignal()

    def refusal(held: str) -> ConfigError:
        return ConfigError(f"{directory} is {held}; give another --out")

    with locked(directory / ".lock", refusal):
        _same_options(directory / "config.json", config)
        with logging_to(directory / "pretraining.log", console), stop.listening():
            _Rows(directory, work).to_the_end(console, stop.check)
        work.export(directory / "model")
    return directory / "model"


class _Rows:
    """The loop with its rows; the rows are cut back to the checkpoint that it resumes from."""

    def __init__(self, directory: Path, work: Any) -> None:
        self._work = work
        self._checkpoints = CheckpointStore(directory / "checkpoint")
        self._training = RowFile(directory / "training.csv")
        self._validation = RowFile(directory / "validation.csv")
        checkpoint = self._checkpoints.latest()
        if checkpoint is None:
            self._training.clear()
            self._validation.clear()
            return
        state = checkpoint.state
        work.load(checkpoint.agent_directory, checkpoint.steps, int(state["examples"]))
        self._training.cut_back(state["training"])
        self._validation.cut_back(state["validation"])

    def to_the_end(self, console: Console, check_stop: Callable[[], None]) -> None:
        work, total = self._work, int(self._work.config.steps)
        losses: list[float] = []
        if not self._training.size:
            self._training.append([("steps", "examples", "loss")])
            self._validation.append([("steps", "task", "things", "chance", "asked", "exact")])
        with RunProgress("pretraining", total, "batches", console) as progress:
            progress.resume_at(work.steps)
            while work.steps < total:
                losses.append(work.step())
                progress.update(work.steps)
                if work.steps % LOG_EVERY == 0 or work.steps == total:
                    mean = sum(losses) / len(losses)
                    self._training.append([(work.steps, work.examples, mean)])
                    losses = []
                if work.steps % VALIDATE_EVERY == 0 or work.steps == total:
                    self._validation.append(
                        (work.steps, task, things or "", chance or "", asked, exact)
                        for task, things, chance, asked, exact in work.validate()
                    )
                    self._save()
                if work.steps % LOG_EVERY == 0:
                    try:
                        check_stop()
                    except BaseException:
                        self._save()
                        raise

    def _save(self) -> None:
        state = {
            "examples": self._work.examples,
            "training": self._training.mark(),
            "validation": self._validation.mark(),
        }
        self._checkpoints.save(self._work.steps, state, self._work.save)


def _options(overrides: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in overrides:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes OPTION=NUMBER, not {pair!r}")
        options[name] = parse_yaml(text, f"--set {pair}")
    return options


def _same_options(path: Path, config: dict[str, Any]) -> None:
    if not path.exists():
        atomic.write_json(path, config)
        return
    recorded = read_json(path)
    for name, value in config.items():
        if recorded.get(name) != value:
            raise ConfigError(
                f"{path.parent} was begun with {name} = {recorded.get(name)!r}, not {value!r}; "
                f"give another --out"
            )
