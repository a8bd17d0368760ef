"""A complete run is refused when the weights it started from are not there any more."""

import shutil

import pytest
from click.testing import CliRunner
from run_files import PROFILE

from agents.miniflan.architecture import MINIFLAN_FOLDER
from agents.registry import find
from bench.cli import cli
from bench.run import RunDirectory
from bench.weights import weight_files_hash


@pytest.fixture
def folder(tmp_path, monkeypatch):
    agents = PROFILE.index("agents:")
    (tmp_path / "small.yaml").write_text(
        f"{PROFILE[:agents]}agents:\n  flan-t5: {{model: ./model}}\n"
    )
    shutil.copytree(MINIFLAN_FOLDER, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reproduce():
    arguments = ["reproduce", "--profile", "small.yaml", "--split", "train", "--no-report"]
    return CliRunner().invoke(cli, arguments)


def test_a_complete_run_is_skipped_only_with_its_own_weights(folder):
    assert reproduce().exit_code == 0
    assert "already complete" in reproduce().stdout
    file = folder / "model" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused = reproduce()
    assert refused.exit_code == 2
    assert "was made with another weight_files_sha256" in refused.stderr
    assert "--force-new" in refused.stderr
    run = RunDirectory(folder / "runs/small/flan-t5/seed-0")
    manifest = run.manifest()
    assert weight_files_hash(run.config()) != manifest["weight_files_sha256"]
    run.update_manifest("complete", weight_files_sha256=None)
    assert "already complete" in reproduce().stdout


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
