"""What the manifest of a run says when it begins: what is to be run, by which code, and where."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bench.config import RunConfig, config_hash
from bench.storage import provenance
from bench.storage.manifest import MANIFEST_FORMAT
from bench.storage.weights import weight_files_hash
from envs import DRAWS_VERSION, LEVELS, SPLITS, evaluation_seeds


def first_manifest(
    config: RunConfig, identity: Mapping[str, Any], *, learns: bool, processes: int
) -> dict[str, Any]:
    """The manifest of a run that has taken no step.

    Args:
        config: The run.
        identity: What the agent says of itself: ``label`` and ``model``.
        learns: Whether it is trained at all.
        processes: Number of processes that train it.

    Returns:
        The content of ``manifest.json``.
    """
    return {
        "format": MANIFEST_FORMAT,
        "profile": config.profile,
        "agent": config.agent,
        "label": identity["label"],
        "seed": config.seed,
        "state": "running",
        "error": None,
        "config_hash": config_hash(config),
        **provenance.origin(config.threads, config.device),
        "later_origins": [],
        "processes": processes,
        "model": dict(identity.get("model", {})),
        "weight_files_sha256": weight_files_hash(config),
        "code_sha256": [],
        "learns": learns,
        "steps": 0,
        "seeds": {
            "run": config.seed,
            "test_first": evaluation_seeds(1)[0],
            "test_count": config.evaluation.episodes,
            "draws_version": DRAWS_VERSION,
        },
        "splits": split_records(config.evaluation.splits),
        "command": ["glam", *sys.argv[1:]],
        "started": now(),
        "finished": None,
        "wall_seconds": {"train": 0.0, "evaluate": 0.0},
    }


def split_records(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What decides the test episodes of each split: its version, its level and the level's."""
    splits = [SPLITS[name] for name in names]
    return {
        split.name: {
            "version": split.version,
            "level": split.level,
            "level_version": LEVELS[split.level].version,
        }
        for split in splits
    }


def now() -> str:
    """The time as manifests give it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
