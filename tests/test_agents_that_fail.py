"""Whatever an agent's code does wrong ends its run with its name, the moment and the problem."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from run_files import quiet, run_in_process, small_config
from test_agents import build, environments

from agents import AgentError, find, sample_actions
from bench.cli import cli
from bench.lifecycle import build_agent, evaluate_run
from bench.profile import load_profile
from bench.reporting.caveats import caveats
from bench.reporting.records import read_records
from bench.storage.run import RunDirectory, RunFailed
from envs import TextEnv, evaluation_seeds

PLUGIN = """
import json, sys
import numpy as np
from dataclasses import make_dataclass
from pathlib import Path
from agents import Agent

class Bad(Agent):
    def __init__(self, config, context):
        super().__init__(config, context)
        self.n = 0
        {init}
    def act(self, observations):
        {act}
        return np.zeros(len(observations), int)
    def update(self, envs):
        self.n += 1
        for _ in range(16): envs.step(np.zeros(envs.n_envs, int))
        {update}
        return {{"n": self.n}}
    def save(self, directory):
        {save}
        (directory / "n").write_text(str(self.n))
    def load(self, directory):
        self.n = int((directory / "n").read_text())
        {load}
    def identity(self):
        {identity}
        return {{"label": "Bad", "model": {{}}}}
"""
PLACES = ("init", "act", "update", "save", "load", "identity")


def plugin(folder, **bodies):
    path = folder / "bad agent.py"
    path.write_text(PLUGIN.format(**{place: bodies.get(place, "pass") for place in PLACES}))
    return f"{path}:Bad"


@pytest.mark.parametrize("body", ["json.loads('x')", "np.zeros(2).reshape(3)"])
def test_what_a_library_raises_is_placed_where_it_was_called(tmp_path, body):
    config = small_config(plugin(tmp_path, update=body))
    with pytest.raises(RunFailed, match=r"Error: .* \(bad agent.py, line 19\)"):
        run_in_process(config, tmp_path)


@pytest.mark.parametrize("body", ["raise KeyError('lost')", "sys.exit()", "1 / 0"])
@pytest.mark.parametrize(
    ("place", "where"),
    [
        ("update", "agent 'agent', update 1: "),
        ("save", "agent 'agent', saving after update 2: "),
        ("act", "agent 'agent', split 'english-goto': "),
    ],
)
def test_what_raises_while_it_works_fails_the_run(tmp_path, place, where, body):
    config = small_config(plugin(tmp_path, **{place: body}))
    with pytest.raises(RunFailed, match=re.escape(where)):
        run_in_process(config, tmp_path)
    manifest = RunDirectory.of(tmp_path, config).manifest()
    assert manifest["state"] == "failed"
    assert re.match(
        re.escape(where) + "(KeyError: 'lost'|SystemExit|Zero).*agent.py, line", manifest["error"]
    )
    plugin(tmp_path)  # mended: the same command goes on
    assert run_in_process(config, tmp_path).state() == "complete"


@pytest.mark.parametrize("body", ["raise KeyError('lost')", "sys.exit()"])
@pytest.mark.parametrize(("place", "where"), [("init", "building it"), ("identity", "identity()")])
def test_what_raises_before_it_works_leaves_nothing(tmp_path, place, where, body):
    config = small_config(plugin(tmp_path, **{place: body}))
    with pytest.raises(AgentError, match=re.escape(f"agent 'agent', {where}: ")):
        run_in_process(config, tmp_path)
    assert not RunDirectory.of(tmp_path, config).path.exists()


@pytest.mark.parametrize(
    "said",
    [
        "None",
        "[1]",
        "{'label': 5}",
        "{'label': ''}",
        "{'label': '<img src=x onerror=alert(1)>'}",
        "{'label': 'a | b'}",
        "{'label': '$x_'}",
        "{'label': 'a' * 81}",
        "{'label': 'two\\nlines'}",
        "{'model': [1]}",
        "{'model': {'x': float('nan')}}",
        "{'model': {'x': object()}}",
    ],
)
def test_an_identity_that_records_cannot_hold_is_refused(tmp_path, said):
    config = small_config(plugin(tmp_path, identity=f"return {said}"))
    with pytest.raises(AgentError, match=r"agent 'agent', identity\(\): "):
        run_in_process(config, tmp_path)


def test_what_raises_in_load_keeps_the_checkpoint(tmp_path):
    config = small_config(plugin(tmp_path, update="if self.n == 3: 1 / 0"))
    with pytest.raises(RunFailed, match="update 3"):
        run_in_process(config, tmp_path)
    plugin(tmp_path, load="raise ValueError('not mine')")
    with pytest.raises(RunFailed, match=r"agent 'agent', loading .*steps-128: ValueError: not m"):
        run_in_process(config, tmp_path)
    plugin(tmp_path)
    run = run_in_process(config, tmp_path)
    assert run.state() == "complete"
    assert "its file has changed since the run began" in run.log.read_text()
    assert len(run.manifest()["code_sha256"]) == 3
    (said,) = [s for s in caveats(read_records(run.path.parents[1])) if "its file was changed" in s]
    assert "(3 versions" in said


def test_seeds_with_different_options_are_named(tmp_path):
    entry = plugin(tmp_path)
    run = run_in_process(small_config(entry, seed=0), tmp_path)
    other = small_config(entry, seed=1)
    other = replace(other, train=replace(other.train, n_envs=other.train.n_envs + 1))
    run_in_process(other, tmp_path)
    sentences = caveats(read_records(run.path.parents[1]))
    assert any("its seeds were run with different options, n_envs" in s for s in sentences)


def test_a_failed_evaluation_keeps_the_rows_that_were_there(tmp_path):
    config = small_config(plugin(tmp_path))
    run = run_in_process(config, tmp_path)
    rows = run.evaluation("english-goto").read_bytes()
    plugin(tmp_path, act="raise RuntimeError('too hot')")
    with pytest.raises(RunFailed, match="split 'english-goto': RuntimeError: too hot"):
        evaluate_run(run, quiet(), agent_file=config.entry)
    assert run.evaluation("english-goto").read_bytes() == rows
    assert (run.state(), run.manifest()["error"]) == ("complete", None)
    assert "too hot" in run.log.read_text()
    plugin(tmp_path)
    evaluate_run(run, quiet(), agent_file=config.entry)
    assert (run.state(), run.manifest()["error"]) == ("complete", None)


@pytest.mark.parametrize("name", ["gflan-t5", "drrn", "symbolic-ppo"])
def test_weights_that_became_nan_are_noticed_in_training_and_in_test(name):
    agent, envs = build(name), environments()
    modules = [v for v in vars(agent).values() if isinstance(v, torch.nn.Module)]
    for module in modules or [agent.policy]:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(float("nan"))
    with pytest.raises((AgentError, RuntimeError, ValueError), match=r"(?i)nan"):
        agent.update(envs)
    with pytest.raises((AgentError, ValueError), match=r"(?i)nan"):
        agent.act(envs.observations)


@pytest.mark.parametrize("row", [[np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0], [-1.0, 0.5]])
def test_only_a_distribution_is_sampled_from(row):
    observation = TextEnv().reset(seed=evaluation_seeds(1)[0])[0]
    with pytest.raises(AgentError, match="no distribution"):
        sample_actions(np.array([[0.5, 0.5], row]), [observation, observation])


CONFIGS = {
    "no dataclass": "Config = 5",
    "unknown type": "Config = make_dataclass('C', [('x', 'Nix', 1)], frozen=True)",
    "no JSON": "Config = make_dataclass('C', [('x', Path, Path())], frozen=True)",
}


@pytest.mark.parametrize("case", [*CONFIGS, "null byte", "exit", "not text", "directory"])
def test_a_plugin_that_cannot_be_used_is_one_line(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "odd.py"
    if case == "directory":
        path.mkdir()
    elif case == "not text":
        path.write_bytes(b"\xff\xfe")
    elif case in CONFIGS:
        text = PLUGIN.format(**dict.fromkeys(PLACES, "pass"))
        path.write_text(text + f"    {CONFIGS[case]}\n")
    else:
        path.write_text({"null byte": "x = '\0'", "exit": "raise SystemExit"}[case])
    arguments = ["train", "--profile", "smoke", "--agent", "odd.py:Bad"]
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), result
    assert "odd.py" in result.stderr or "bad" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_weight_files_that_cannot_be_named_leave_nothing(tmp_path):
    entry = plugin(tmp_path)
    path = tmp_path / "bad agent.py"
    lost = "    @classmethod\n    def weight_files(cls, config): raise OSError('lost')\n"
    path.write_text(path.read_text() + lost)
    with pytest.raises(AgentError, match=r"weight_files\(\): OSError: lost"):
        run_in_process(small_config(entry), tmp_path)
    assert not RunDirectory.of(tmp_path, small_config(entry)).path.exists()


@pytest.mark.parametrize(
    ("act", "said"),
    [("return np.array([99])", "action 99, outside 0 to 5"), ("1 / 0", "ZeroDivisionError")],
)
def test_play_names_what_the_agent_did_wrong(tmp_path, act, said):
    command = ["play", plugin(tmp_path, act=act), "--profile", "smoke"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.startswith("glam: agent 'bad'")


def test_an_agents_file_is_run_once_and_again_only_if_it_changes(tmp_path):
    counter = tmp_path / "times"
    path = tmp_path / "counted.py"
    code = f"open({str(counter)!r}, 'a').write('x')\n" + PLUGIN.format(
        **dict.fromkeys(PLACES, "pass")
    )
    path.write_text(code)
    entry = f"{path}:Bad"
    run_in_process(small_config(entry), tmp_path)
    assert counter.read_text() == "x"
    assert find(entry).load() is find(entry).load()
    path.write_text(code + "# changed\n")
    find(entry).load()
    assert counter.read_text() == "xx"


def test_a_config_may_derive_fields(tmp_path):
    path = tmp_path / "derived.py"
    path.write_text(
        "from dataclasses import dataclass, field\n"
        + PLUGIN.format(**{**dict.fromkeys(PLACES, "pass"), "init": "assert config.b == 3"})
        + "    @dataclass(frozen=True)\n"
        "    class Config:\n"
        "        a: int = 1\n"
        "        b: int = field(init=False, default=3)\n"
    )
    (config,) = load_profile("smoke", (), (f"{path}:Bad",)).runs([0])
    assert config.agent_options == {"a": 1}
    assert build_agent(config).config.b == 3
