"""Whether a directory's run is the one that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.registry import find, is_file
from bench.config import RunConfig, differences
from bench.storage.agent_code import agent_code_hash
from bench.storage.first_manifest import split_records
from bench.storage.manifest import draws_version
from bench.storage.parsing import RecordError
from bench.storage.run import RunDirectory, RunError
from bench.storage.weights import weight_files_hash
from envs import DRAWS_VERSION


def mismatch(
    run: RunDirectory,
    config: RunConfig,
    model: Mapping[str, Any] | None = None,
    processes: int | None = None,
) -> str | None:
    """Says why a directory's run is not the one asked for.

    Args:
        run: The directory.
        config: The run asked for.
        model: The model's identity, once it is known.
        processes: How many processes are to resume it, if that is asked: another number
            would sum in another order.

    Returns:
        One line naming the field that differs; None if the run can be started or continued.
    """
    if not run.begun:
        return None
    try:
        manifest, old = run.manifest(), run.config()
    except (RecordError, RunError) as error:
        return str(error)
    if manifest is None:
        return f"{run.path} holds rows of a run but no manifest.json"
    changed = next(_changes(manifest, old, config, model, processes), None)
    if changed is None:
        return None
    remedy = ""
    if changed.startswith("evaluation.") and manifest["state"] in ("trained", "complete"):
        remedy = f"; `glam evaluate {run.path}` plays other splits or episodes"
    return f"{run.path} was made with another {changed}{remedy}"


def mismatch_before_loading(run: RunDirectory, config: RunConfig) -> str | None:
    """The same before the model is opened: a complete run may be of other weights than are there.

    Of a run that goes on the model's own identity is compared, by :func:`mismatch`.

    Args:
        run: The directory.
        config: The run asked for. Its agent's code is loaded.

    Returns:
        One line naming the field that differs; None if nothing does, or it cannot be told.
    """
    found = mismatch(run, config)
    manifest = run.manifest() if found is None else None
    if manifest is None or manifest["state"] != "complete":
        return found
    then = manifest.get("weight_files_sha256")  # not in the oldest manifests
    now = None if then is None else weight_files_hash(config)
    if now in (None, then):
        return None
    return f"{run.path} was made with another weight_files_sha256 (was {then!r}, now {now!r})"


def _changes(
    manifest: Mapping[str, Any],
    old: RunConfig,
    asked: RunConfig,
    model: Mapping[str, Any] | None,
    processes: int | None,
) -> Iterator[str]:
    """Every difference, as ``field (was this, now that)``."""
    then, now = old.to_json(), asked.to_json()
    if _same_code(old.entry, asked.entry, manifest):
        then["entry"] = now["entry"]  # however the path is written
    yield from map(str, differences(then, now))
    if model is not None:
        # The precision may be the machine's choice; what began in one goes on in it.
        then, now = (
            {key: value for key, value in each.items() if key != "precision"}
            for each in (manifest["model"], model)
        )
        yield from map(str, differences(then, now, "model."))
    now = split_records(asked.evaluation.splits)
    played = {name: manifest["splits"].get(name, {}) for name in now}
    yield from map(str, differences(played, now, "splits."))
    draws = draws_version(manifest)
    if draws != DRAWS_VERSION:
        yield f"seeds.draws_version (was {draws}, now {DRAWS_VERSION})"
    before = manifest.get("processes", 1)
    if processes not in (None, before):
        yield (
            f"number of processes (was {before}, now {processes}): "
            f"`accelerate launch --num_processes {before}` resumes it"
        )


def _same_code(then: str, now: str, manifest: Mapping[str, Any]) -> bool:
    """Whether two references name one class in one file, or in files that hold the same."""
    if not (is_file(then) and is_file(now)):
        return then == now
    (old, _, old_name), (new, _, name) = then.rpartition(":"), now.rpartition(":")
    if old_name != name:
        return False
    if Path(old).resolve() == Path(new).resolve():
        return True
    return agent_code_hash(find(now).load()) in manifest.get("code_sha256", ())
