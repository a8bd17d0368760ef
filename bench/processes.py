"""The processes that train one run together, started by ``accelerate launch``.

All of them hold the same environments and the same agent and take the same decisions; the agent
shares the arithmetic of an update between them. Only the main one writes.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

_Value = TypeVar("_Value")

# What one process does alone (a large checkpoint, a slow test episode) must not look like a hang;
# the launcher, not a time-out, ends the others when one dies.
_PATIENCE = timedelta(hours=6)

_BROKEN = ("/gloo/transport/", "DistBackendError", "DistNetworkError", "DistStoreError")


@dataclass(frozen=True)
class Processes:
    """This process's place among those of its run.

    Attributes:
        count: Number of processes.
        index: This one's number; 0 is the main one.
        device: Torch device of this process; None if the run's config says it.
    """

    count: int = 1
    index: int = 0
    device: str | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.index == 0

    def from_main(self, ask: Callable[[], _Value]) -> _Value:
        """Does something in the main process while the others wait for its outcome.

        Args:
            ask: Called in the main process only.

        Returns:
            What it returned, in every process.
        """
        if self.count == 1:
            return ask()
        from accelerate.utils import broadcast_object_list

        answer = [ask() if self.is_main else None]
        found: list[_Value] = broadcast_object_list(answer)
        return found[0]

    def gather(self, value: _Value) -> list[_Value]:
        """Every process's value, in their order, in every process."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        found: list[_Value] = gather_object([value])
        return found


ALONE = Processes()
"""The usual case: a run in one process."""


def place() -> tuple[int, int]:
    """This process's number and the number of processes, as the launcher set them."""
    if "RANK" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Connects this process with the others of its run, if there are any.

    Args:
        device: The run's device, ``cpu`` or ``cuda``; of several GPUs each process takes its own.

    Yields:
        This process's place.

    Raises:
        ConfigError: If the device cannot be shared out, or accelerate is not installed.
    """
    if place()[1] == 1:
        yield ALONE
        return
    _check_sharing(device)
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    if not state.is_main_process:
        logging.getLogger("glam").disabled = True
    yield Processes(state.num_processes, state.process_index, str(state.device))
    state.destroy_process_group()


def _check_sharing(device: str) -> None:
    from bench.validation import ConfigError

    if device not in ("cpu", "cuda"):
        raise ConfigError(
            f"device: several processes take cpu, or cuda (one GPU each), not {device}"
        )
    if importlib.util.find_spec("accelerate") is None:
        raise ConfigError(
            "several processes need accelerate: `pip install --editable '.[parallel]'` in the clone"
        )
    if device == "cuda":
        import torch

        gpus, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
        if local >= gpus:
            raise ConfigError(
                f"device: {local + 1} processes or more on a machine with {gpus} GPUs"
            )


def in_plain_words(problem: str) -> str:
    """An error's text; where it only says that a connection broke, what that means."""
    if place()[1] > 1 and any(mark in problem for mark in _BROKEN):
        return "another process of the run has ended; run it again to go on"
    return problem


def first_ending(message: str) -> tuple[int, str]:
    """Finds out which process was the first to end early; that one speaks for all.

    The launcher's own key-value store outlives the processes, so it is asked even where they have
    lost each other.

    Args:
        message: Why this process ends.

    Returns:
        Number of the first process to end and why it did; later ones mostly end because of it.
    """
    index, count = place()
    if count == 1:
        return index, message
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    key = f"glam/ending/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*address, is_master=False, timeout=timedelta(seconds=5))
        first = json.loads(store.compare_set(key, "", json.dumps([index, message])))
    except (KeyError, RuntimeError):  # no launcher, or gone
        return index, message
    return int(first[0]), str(first[1])
