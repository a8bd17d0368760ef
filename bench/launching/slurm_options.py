"""Options of ``sbatch`` as they are given on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from bench.validation import ConfigError

NO_SUBMITIT = "--executor needs submitit: .venv/bin/python -m pip install 'submitit>=1.5'"

_SIGNAL_SECONDS = 120  # an update must end and be saved in it
_SIGNAL_EARLY_SECONDS = 60  # sbatch's manual, --signal
_TRUTHS = {"true": True, "false": False}
_SHELL_LINES = ("setup", "teardown")
# A run is one task on one node; array, logs and signal are how it is found and stopped.
_OURS = {
    *("nodes", "ntasks", "ntasks_per_node", "array", "output", "error", "open_mode", "signal"),
    *("num_gpus", "srun_args", "additional_parameters"),
}


def slurm_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Reads options of ``sbatch``.

    Args:
        pairs: ``key=value`` each, by the names of sbatch's manual, with ``-`` or ``_``.

    Returns:
        Parameters of submitit's executor.

    Raises:
        ConfigError: If a name is mistyped or not the user's to set, or there is no time. Names
            that submitit does not know go to sbatch as they are, which refuses what it does not
            know either.
    """
    options: dict[str, Any] = {}
    others: dict[str, Any] = {}
    known = _known_options()
    for pair in pairs:
        name, _, text = pair.partition("=")
        if not name or not text:
            raise ConfigError(f"--slurm {pair}: must be key=value, such as time=240")
        key = name.replace("-", "_")
        if key in _OURS:
            raise ConfigError(f"--slurm {name}: the harness sets it itself")
        near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.8)
        if key not in known and near:
            raise ConfigError(f"--slurm {name}: no such option; did you mean {near[0]!r}?")
        value: Any = _TRUTHS.get(text, text)
        if text.removeprefix("-").isdecimal():
            value = int(text)
        if key in _SHELL_LINES:
            options.setdefault(key, []).append(text)
        elif key in options or key in others:
            raise ConfigError(f"--slurm {name}: given twice")
        else:
            (options if key in known else others)[key] = value
    if others:
        options["additional_parameters"] = others
    limit = options.get("time")
    if type(limit) is not int or limit < 1:
        given = "" if limit is None else f", got {limit!r}"
        raise ConfigError(
            f"--slurm time=MINUTES must say how long a job may take, in whole minutes{given}; a "
            "run that needs longer is requeued and goes on"
        )
    delay = options.setdefault("signal_delay_s", _SIGNAL_SECONDS)
    if type(delay) is not int or delay < 0 or limit * 60 <= delay + _SIGNAL_EARLY_SECONDS:
        raise ConfigError(
            f"--slurm time={limit}: too short; SLURM may signal up to {_SIGNAL_EARLY_SECONDS} s "
            f"earlier than signal_delay_s={delay} before the end, and a job must have begun by then"
        )
    return options


def _known_options() -> set[str]:
    try:
        from submitit import SlurmExecutor
    except ImportError as error:
        raise ConfigError(NO_SUBMITIT) from error
    return SlurmExecutor._valid_parameters() - _OURS
