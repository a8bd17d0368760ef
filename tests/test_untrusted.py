"""Opening what others made runs none of their code, and nothing goes to the network unasked."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from run_files import ROOT, run_in_process, small_config

from agents import AgentError
from agents.language_model.backbone import load_backbone
from bench.cli import cli

RUNS_CODE = re.compile(
    r"(\bimport pickle|pickle\.|cPickle|joblib|dill|torch\.load|allow_pickle=True|"
    r"(?<!\.)\b(eval|exec)\(|"
    r"yaml\.load\(|yaml\.unsafe|full_load|marshal|shelve|trust_remote_code\"?[=:] ?True|os\.system|"
    r"shell=True|autoescape=False)"
)


def test_no_module_loads_what_can_run():
    found = [
        f"{path}: {match[0]}"
        for package in ("envs", "agents", "bench")
        for path in (ROOT / package).rglob("*.py")
        for match in RUNS_CODE.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "ein Modell ü"
    backbone = load_backbone("miniflan", pretrained=True, pretrained_embeddings=False, seed=0)
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return folder, backbone.weights_sha256


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def opened(folder: Path):
    return load_backbone(str(folder), pretrained=True, pretrained_embeddings=False, seed=0)


def test_a_model_folder_is_opened_but_never_its_pickle(model_folder, tmp_path):
    folder, digest = model_folder
    assert opened(folder).weights_sha256 == digest
    trapped = copied(folder, tmp_path / "trapped")
    (trapped / "model.safetensors").unlink()
    trap = tmp_path / "sprung"
    torch.save({"shared.weight": Trap(trap)}, trapped / "pytorch_model.bin")
    with pytest.raises(AgentError, match=r"model\.safetensors"):
        opened(trapped)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))  # the trap works
    assert trap.exists()


def test_code_in_a_model_folder_is_not_run(model_folder, tmp_path):
    folder = copied(model_folder[0], tmp_path / "trapped")
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((folder / name).read_text())
        values["auto_map"] = {
            "AutoConfig": "evil.Evil",
            "AutoModelForSeq2SeqLM": "evil.Evil",
            "AutoTokenizer": ["evil.Evil", "evil.Evil"],
        }
        (folder / name).write_text(json.dumps(values))
    trap = tmp_path / "sprung"
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nclass Evil: pass\n")
    assert opened(folder).weights_sha256 == model_folder[1]
    assert not trap.exists()


DAMAGE = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "rubbish": lambda content: b"\xff\x00" * 50,
}
NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", NEEDED)
def test_a_damaged_model_folder_is_one_line(model_folder, tmp_path, name, damage):
    folder = copied(model_folder[0], tmp_path / "damaged")
    content = DAMAGE[damage]((folder / name).read_bytes())
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(AgentError, match=r"^cannot open the language model '.*damaged': [^\n]+$"):
        opened(folder)


def test_a_tokenizer_without_a_pad_token_is_refused(model_folder, tmp_path):
    folder = copied(model_folder[0], tmp_path / "padless")
    path = folder / "tokenizer_config.json"
    lacks = {"pad_token": None, "eos_token": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | lacks))
    with pytest.raises(AgentError, match="no pad token"):
        opened(folder)


def test_weights_that_lack_a_tensor_are_not_filled_up_at_random(model_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(model_folder[0], tmp_path / "gaps")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(weights) if "layer_norm" in name)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(AgentError, match=f"lack {lost}"):
        opened(folder)


WATCHED = """
import sys
from click.testing import CliRunner
asked = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        asked.append(arguments)
        raise OSError(101, "Network is unreachable")
sys.addaudithook(hook)
from bench.cli import cli
for sets in sys.argv[1:]:
    options = [word for pair in sets.split() for word in ("--set", pair)]
    arguments = ["train", "--profile", "smoke", "--agent", "gflan-t5", *options]
    result = CliRunner().invoke(cli, arguments)
    print(result.exit_code, len(asked), result.stderr.strip())
"""


def watched(cwd: Path, offline: str, *sets: str) -> list[str]:
    """Exit code, number of questions to the network and complaint of a run for each settings."""
    variables = {"PYTHONPATH": str(ROOT), "HF_HOME": str(cwd / "hub"), "HF_HUB_OFFLINE": offline}
    command = [sys.executable, "-P", "-c", WATCHED, *sets]
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **variables}
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


HUB = "agent.model=google/flan-t5-small"
REFUSED = "glam: agent 'gflan-t5', building it: cannot open the language model 'google/flan-t5-sma"


def test_nothing_is_asked_of_the_network_but_a_hub_model_and_that_not_again_and_again(tmp_path):
    tiny = "train.steps=16 train.n_envs=1 evaluation.splits=[]"
    trained, refused = watched(tmp_path, "0", tiny, HUB)
    assert trained == "0 0 "
    assert refused.startswith((f"2 1 {REFUSED}", f"2 2 {REFUSED}"))  # transformers tries for 45 s
    assert refused.endswith("'miniflan' needs neither")
    assert len(list((tmp_path / "runs").glob("*/*/seed-*"))) == 1


def test_nothing_at_all_is_asked_of_the_network_when_it_is_said_to_be_offline(tmp_path):
    (refused,) = watched(tmp_path, "1", HUB)
    assert refused.startswith(f"2 0 {REFUSED}")


PLUGIN = """
from agents.random_policy import RandomAgent
open({!r}, "a").close()
class A(RandomAgent): pass
"""


def test_a_runs_own_code_is_run_only_when_it_is_named(tmp_path, monkeypatch):
    trap = tmp_path / "sprung"
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.format(str(trap)))
    monkeypatch.chdir(tmp_path)
    run = run_in_process(small_config(f"{plugin}:A"), tmp_path)
    trap.unlink()
    plugin.touch()  # in this process it would otherwise be there already
    invoke = CliRunner().invoke
    refused = invoke(cli, ["evaluate", str(run.path)])
    assert refused.exit_code == 2
    assert f"add --agent {plugin}:A" in refused.stderr
    assert invoke(cli, ["report", str(tmp_path / "small")]).exit_code == 0
    assert invoke(cli, ["agents"]).exit_code == 0
    assert not trap.exists()
    assert invoke(cli, ["evaluate", str(run.path), "--agent", f"{plugin}:A"]).exit_code == 0
    assert trap.exists()
