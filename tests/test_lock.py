"""One writer at a time, and who that is."""

import os
import subprocess
import sys

import pytest
from run_files import ROOT, quiet

from bench.pretrain import pretrain
from bench.storage.lock import has_holder, locked
from bench.validation import ConfigError


def test_a_second_one_is_kept_out_and_told_who_has_it(tmp_path):
    path = tmp_path / "deep" / ".lock"
    with locked(path, LookupError):
        assert has_holder(path)
        with (
            pytest.raises(LookupError, match=f"in use by process {os.getpid()}$"),
            locked(path, LookupError),
        ):
            pass
    assert not has_holder(path)
    with locked(path, LookupError):
        pass


def test_a_lock_of_a_process_that_was_killed_is_void(tmp_path):
    path = tmp_path / ".lock"
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom bench.storage.lock import locked\n"
        "with locked(Path(sys.argv[1]), LookupError): os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-P", "-c", code, path], env={"PYTHONPATH": str(ROOT)})
    assert killed.returncode == -9
    assert path.read_text()
    assert not has_holder(path)
    with locked(path, LookupError):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="reads when a process began from /proc")
def test_a_process_that_was_given_the_id_again_is_no_holder(tmp_path):
    path = tmp_path / ".lock"
    with locked(path, LookupError):
        pid, started = path.read_text().split()
        path.write_text(f"{pid} {int(started) - 1}")
        assert not has_holder(path)
        path.write_text(pid)  # where the system does not tell
        assert has_holder(path)


def test_two_pretrainings_in_one_directory_are_refused(tmp_path):
    with (
        locked(tmp_path / ".lock", LookupError),
        pytest.raises(ConfigError, match=rf"in use by process {os.getpid()}; give another --out"),
    ):
        pretrain(tmp_path, quiet(), ["steps=1"])
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("option", ["steps=0", "warmup=0", "batch_tokens=0", "decay=1.5"])
def test_options_of_pretraining_out_of_range_are_named(tmp_path, option):
    with pytest.raises(ConfigError, match=option.partition("=")[0]):
        pretrain(tmp_path, quiet(), [option])
    assert not list(tmp_path.iterdir())
