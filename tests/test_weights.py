"""A complete run is refused when the weights it started from are not there any more."""

import dataclasses
import shutil

import pytest
from run_files import quiet, run_in_process, small_config

from agents.miniflan.architecture import MINIFLAN_FOLDER
from agents.registry import find
from bench.launching.executors import PlannedRun
from bench.launching.reproduce import reproduce
from bench.storage.run import RunDirectory, RunError


def test_a_complete_run_is_skipped_only_with_its_own_weights(tmp_path):
    model = shutil.copytree(MINIFLAN_FOLDER, tmp_path / "model")
    agent_class = find("flan-t5").load()
    options = dataclasses.asdict(agent_class.Config(model=str(model)))
    config = small_config("flan-t5", agent_options=options)
    run = run_in_process(config, tmp_path)
    planned = PlannedRun(config, tmp_path, ("false",))
    console = quiet()
    assert [each.error for each in reproduce([planned], console, jobs=1)] == [None]
    assert "already complete" in console.file.getvalue()

    file = model / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RunError, match=r"another weight_files_sha256 \(was .*--force-new"):
        reproduce([planned], quiet(), jobs=1)
    with pytest.raises(RunError, match=r"another weight_files_sha256 \(was .*--force-new"):
        run_in_process(config, tmp_path)
    before = run.manifest()["weight_files_sha256"]
    run_in_process(config, tmp_path, force_new=True)
    assert run.state() == "complete"
    assert run.manifest()["weight_files_sha256"] != before
    assert RunDirectory(run.path.with_name("old-seed-3-1")).manifest()["weight_files_sha256"] == (
        before
    )
    file.write_bytes(whole)
    run.update_manifest("complete", weight_files_sha256=None)  # a run of before it was recorded
    assert [each.error for each in reproduce([planned], quiet(), jobs=1)] == [None]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("gflan-t5", {}, ["model.safetensors"]),
        (
            "npae-flan-t5",
            {"pretrained": False, "pretrained_embeddings": True},
            ["model.safetensors"],
        ),
        ("gflan-t5", {"pretrained": False}, []),
        ("gflan-t5", {"model": "google/flan-t5-large"}, []),
        ("drrn", {}, []),
    ],
)
def test_agents_name_the_files_that_their_weights_come_from(name, options, expected):
    agent_class = find(name).load()
    files = [path.name for path in agent_class.weight_files(agent_class.Config(**options))]
    assert files == expected
