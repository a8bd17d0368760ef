"""Jobs of submitit: the same rows as processes, requeued at a time limit, stopped with us."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from run_files import PROFILE, glam, result_bytes

from bench.cli import cli
from bench.launching.executors import PlannedRun
from bench.launching.reproduce import train_command
from bench.launching.slurm_options import slurm_options
from bench.launching.submission import SubmititExecutor
from bench.launching.watch import _Watched
from bench.profile import load_profile
from bench.storage.run import RunDirectory, RunError
from bench.validation import ConfigError

# Long enough that a signal arrives before the end, on a fast machine too.
LONG = ("--agent", "tabular", "--set", "train.steps=8192", "--split", "french-goto")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(PROFILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


REPRODUCE = ("reproduce", "--profile", "small.yaml", "--no-report")


def wait_for_rows(run: RunDirectory, process) -> None:
    while run.metrics.size < 100:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The bytes of the long run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "small.yaml").write_text(PROFILE)
    *sets, _, _ = LONG
    sets += ["--set", "evaluation.splits=[french-goto]"]
    done = invoke("train", "--profile", folder / "small.yaml", *sets, "--out", folder)
    assert done.exit_code == 0, done.stderr
    return result_bytes(folder / "small/tabular/seed-0")


def test_two_runs_as_jobs_end_with_the_rows_of_processes(folder):
    jobs = ("--executor", "submitit-local", "--jobs", 2, "--slurm", "time=5")
    done = invoke(*REPRODUCE, *jobs, "--split", "train")
    assert (done.exit_code, done.stderr) == (0, "")
    for agent in ("tabular", "random"):
        assert f"{agent} seed 0: started, job " in done.stdout
        assert f"{agent} seed 0: complete" in done.stdout
    for agent in ("tabular", "random"):
        alone = ("--set", "evaluation.splits=[train]", "--agent", agent, "--out", "here")
        assert invoke("train", "--profile", "small.yaml", *alone).exit_code == 0
    for agent in ("tabular", "random"):
        rows = result_bytes(folder / f"runs/small/{agent}/seed-0")
        assert rows == result_bytes(folder / f"here/small/{agent}/seed-0")
        assert [name for name in rows if name.startswith("eval")] == ["evaluation/train.csv"]


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize("flags", [(), ("--force-new",)])
def test_a_job_whose_time_is_over_saves_is_requeued_and_ends_with_the_same_bytes(
    folder, alone, flags
):
    process = glam(*REPRODUCE, *LONG, "--executor", "submitit-local", *flags, cwd=folder)
    run = RunDirectory(folder / "runs/small/tabular/seed-0")
    wait_for_rows(run, process)
    training = int(run.lock_path.read_text().split()[0])
    for pid in (training, parent_of(training)):  # SLURM sends its signal to all of a job
        os.kill(pid, signal.SIGUSR2)
    _, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, "")
    assert run.log.read_text().count("stopped by SIGTERM") == 1
    assert not Path(f"/proc/{training}").exists()
    assert result_bytes(run.path) == alone


def test_jobs_on_this_machine_stop_with_us_and_the_same_command_goes_on(folder, alone):
    arguments = (*REPRODUCE, *LONG, "--executor", "submitit-local")
    process = glam(*arguments, cwd=folder)
    run = RunDirectory(folder / "runs/small/tabular/seed-0")
    wait_for_rows(run, process)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert run.state() == "running"
    assert 0 < run.checkpoints.latest().steps < 8192
    with run.lock():  # nobody works in it any more
        pass
    assert "tabular seed 0: complete, 8,192/8,192 steps" in invoke(*arguments).stdout
    assert result_bytes(run.path) == alone


def test_a_job_that_fails_is_listed_with_its_log(folder):
    (folder / "broken.py").write_text(
        "from agents import Agent\n"
        "class Broken(Agent):\n"
        "    def __init__(self, config, context): raise RuntimeError('no such model')\n"
        "    def act(self, observations): return None\n"
    )
    jobs = ("--executor", "submitit-local", "--agent", "broken.py:Broken")
    failed = invoke(*REPRODUCE, *jobs)
    log = "runs/small/broken/seed-0/train.log"
    assert failed.exit_code == 1
    assert failed.stderr == (
        "glam: broken seed 0 failed: agent 'broken', building it: RuntimeError: no such model "
        f"(broken.py, line 3) (log: {log})\n"
    )
    assert "no such model" in (folder / log).read_text()


def test_a_launcher_starts_the_runs(folder):
    launch = ("--launch", f"env GLAM_LAUNCHED=1 {sys.executable}", "--agent", "random")
    done = invoke(*REPRODUCE, *launch)
    assert (done.exit_code, done.stderr) == (0, "")
    run = RunDirectory(folder / "runs/small/random/seed-0")
    assert run.state() == "complete"
    command = train_command("p", (), Path("o"), launch="env 'A=b c' accelerate launch")
    assert command(run.config())[:6] == ("env", "A=b c", "accelerate", "launch", "-m", "bench")


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ((), "time=MINUTES"),
        (("time=4:00:00",), "whole minutes, got '4:00:00'"),
        (("time=1-00:00",), "got '1-00:00'"),
        (("time=0",), "got 0"),
        (("time=3",), "time=3: too short; SLURM may signal up to 60 s earlier"),
        (("time=60", "signal_delay_s=soon"), "signal_delay_s=soon"),
        (("time=60", "signal_delay_s=-5"), "signal_delay_s=-5"),
        (("time=60", "time=120"), "time: given twice"),
        (("time=60", "reservation=a", "reservation=b"), "reservation: given twice"),
        (("time=60", "partitio=gpu"), "'partition'"),
        (("time=60", "nodes=2"), "nodes: the harness sets it itself"),
        (("time=60", "open-mode=truncate"), "open-mode: the harness sets it itself"),
        (("time=60", "mem="), "must be key=value"),
        (("time",), "must be key=value"),
    ],
)
def test_options_of_sbatch_that_cannot_be_used_are_refused(pairs, named):
    with pytest.raises(ConfigError) as caught:
        slurm_options(pairs)
    assert named in str(caught.value)


def test_options_of_sbatch_go_by_the_names_of_its_manual():
    given = ("time=60", "gpus-per-node=1", "gres=gpu:1", "exclusive=true", "setup=module load x")
    beyond_submitit = ("reservation=night", "no-kill=true", "setup=source env.sh")
    assert slurm_options((*given, *beyond_submitit)) == {
        "time": 60,
        "signal_delay_s": 120,
        "gpus_per_node": 1,
        "gres": "gpu:1",
        "exclusive": True,
        "setup": ["module load x", "source env.sh"],
        "additional_parameters": {"reservation": "night", "no_kill": True},
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--executor", "slurm", "--slurm", "time=60"), "no sbatch on this machine"),
        (("--executor", "slurm", "--slurm", "time"), "--slurm time: must be key=value"),
        (("--slurm", "time=60"), "this is local"),
        (("--executor", "pbs"), "slurm"),
        (("--split", "frensh-goto"), "'french-goto'"),
        (("--launch", "no-such-launcher -x"), "no-such-launcher"),
        (("--launch", "'"), "--launch"),
    ],
)
def test_what_cannot_be_started_is_refused_in_one_line(folder, monkeypatch, arguments, named):
    monkeypatch.setenv("PATH", str(folder))
    refused = invoke("reproduce", "--profile", "small.yaml", *arguments)
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1
    assert named in refused.stderr
    assert not list(folder.glob("runs/small/*/seed-*"))


@pytest.mark.parametrize("executor", ["local", "submitit-local"])
def test_what_a_launcher_started_saves_before_it_is_left(folder, executor, alone):
    """A launcher that hands no signal on, as Accelerate's with one process."""
    (folder / "launch.py").write_text(
        "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, '-P', *sys.argv[1:]]))\n"
    )
    launch = ("--launch", f"{sys.executable} launch.py", "--executor", executor)
    process = glam(*REPRODUCE, *LONG, *launch, cwd=folder)
    run = RunDirectory(folder / "runs/small/tabular/seed-0")
    wait_for_rows(run, process)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    with run.lock():  # nobody works in it any more
        pass
    assert run.log.read_text().count("stopped by SIGTERM") == 1
    done = invoke(*REPRODUCE, *LONG, *launch)
    assert "tabular seed 0: complete, 8,192/8,192 steps" in done.stdout, done.stderr
    assert result_bytes(run.path) == alone


def test_a_launcher_that_does_not_wait_has_completed_nothing(folder):
    done = invoke(*REPRODUCE, "--launch", "true", "--agent", "random")
    assert done.exit_code == 1
    assert "random seed 0 failed: its launcher has ended and it is not complete" in done.stderr


def test_what_a_launched_run_says_is_told_whatever_the_launcher_exits_with(folder):
    (folder / "launch.py").write_text(
        "import subprocess, sys\n"
        "sys.exit(bool(subprocess.call([sys.executable, '-P', *sys.argv[1:]])))\n"
    )
    held = RunDirectory(folder / "runs/small/random/seed-0")
    with held.lock():
        launch = ("--launch", f"{sys.executable} launch.py", "--agent", "random")
        done = invoke(*REPRODUCE, *launch)
    assert done.exit_code == 1
    assert "random seed 0 failed: runs/small/random/seed-0 is in use by process" in done.stderr


@pytest.fixture
def asked(monkeypatch):
    """What submitit is asked for, with a SLURM that takes every job as number 7."""
    submitit = pytest.importorskip("submitit")
    asked: list[dict] = []

    class Executor:
        def __init__(self, *arguments, **options):
            pass

        def update_parameters(self, **given):
            asked.append(given)

        def submit_array(self, calls):
            return [SimpleNamespace(job_id="7")]

    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)
    monkeypatch.setattr("shutil.which", lambda name: name)
    return asked


def test_a_job_asks_for_a_core_for_each_thread(folder, asked):
    (config,) = load_profile("small.yaml", ("threads=3",), ("random",)).runs()
    planned = PlannedRun(config, folder, ("true",))
    SubmititExecutor("slurm", {"time": 60}, 2).start([planned], folder)
    SubmititExecutor("slurm", {"cpus_per_task": 8}, None).start([planned], folder)
    assert asked[0] == {
        "time": 60,
        "array_parallelism": 2,
        "cpus_per_task": 3,
        "job_name": "glam-small",
    }
    assert asked[1]["cpus_per_task"] == 8


@pytest.mark.usefixtures("asked")
def test_a_job_with_other_settings_is_not_taken_for_the_run(folder, monkeypatch):
    class Waiting:
        watcher = SimpleNamespace(get_state=lambda *arguments, **options: "PENDING")

        def __init__(self, folder, job_id):
            self.job_id = job_id

        def done(self):
            return False

    monkeypatch.setattr("submitit.SlurmJob", Waiting)
    one, other = (
        PlannedRun(config, folder, ("true",))
        for steps in (100, 200)
        for config in load_profile("small.yaml", (f"train.steps={steps}",), ("random",)).runs()
    )
    queue = SubmititExecutor("slurm", {"time": 60}, None)
    queue.start([one], folder)
    assert queue.attached(one).title == "job 7"
    with pytest.raises(RunError, match="submitted with other settings; `scancel 7`"):
        queue.attached(other)


def test_a_job_is_queued_until_it_begins(folder):
    (config,) = load_profile("small.yaml", (), ("random",)).runs()
    run = RunDirectory.of(folder, config)
    run.create(config, {"label": "Random"}, learns=True)
    jobs = folder / ".jobs"
    jobs.mkdir()

    def phase() -> str:
        return _Watched(run, run.path).status().phase

    assert phase() == "stopped"
    (jobs / "small-random-seed-0.id").write_text("7")
    assert phase() == "queued"
    (jobs / "small-random-seed-0.begun").touch()
    assert phase() == "training"  # on another machine, whose locks cannot be seen from here
    (jobs / "small-random-seed-0.exit").write_text("0")
    assert phase() == "stopped"
