"""Options of ``sbatch`` as they are given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.config import ConfigError, nearest

NO_SUBMITIT = "--executor needs submitit: .venv/bin/python -m pip install 'submitit>=1.5'"

_SIGNAL_SECONDS = 120  # an update must end and be saved in it
_SIGNAL_EARLY_SECONDS = 60  # sbatch's manual, --signal
_TRUTHS = {"true": True, "false": False}
_SHELL_LINES = ("setup", "teardown")
_OURS = {"nodes", "ntasks_per_node", "num_gpus", "srun_args", "additional_parameters"}


def slurm_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Reads options of ``sbatch``.

    Args:
        pairs: ``key=value`` each, by the names of sbatch's manual, with ``-`` or ``_``.

    Returns:
        Parameters of submitit's executor.

    Raises:
        ConfigError: If there is none of that name, or no time.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if not name or not text:
            raise ConfigError(f"--slurm {pair}: must be key=value, such as time=240")
        key = name.replace("-", "_")
        if key not in _known_options():
            hint = nearest(key, sorted(_known_options()))
            raise ConfigError(f"--slurm {name}: no such option{hint}")
        value: Any = _TRUTHS.get(text, text)
        if text.isdecimal():
            value = int(text)
        options[key] = [text] if key in _SHELL_LINES else value
    limit = options.get("time")
    if type(limit) is not int or limit < 1:
        given = "" if limit is None else f", got {limit!r}"
        raise ConfigError(
            f"--slurm time=MINUTES must say how long a job may take, in whole minutes{given}; a "
            "run that needs longer is requeued and goes on"
        )
    delay = options.setdefault("signal_delay_s", _SIGNAL_SECONDS)
    if type(delay) is not int or limit * 60 <= delay + _SIGNAL_EARLY_SECONDS:
        raise ConfigError(
            f"--slurm time={limit}: its signal may come {_SIGNAL_EARLY_SECONDS} s more than "
            f"signal_delay_s={delay} before the end, and a job must have begun by then"
        )
    return options


def _known_options() -> set[str]:
    try:
        from submitit import SlurmExecutor
    except ImportError as error:
        raise ConfigError(NO_SUBMITIT) from error
    return SlurmExecutor._valid_parameters() - _OURS
