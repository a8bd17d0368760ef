"""When a process looks for memory to free."""

import gc
import platform
import subprocess
import sys

import pytest

from bench.memory import postpone_collection, resume_collection


@pytest.fixture(autouse=True)
def as_before():
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_collection_waits_while_a_process_loads_and_then_leaves_out_what_is_there() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    postpone_collection()
    assert gc.get_threshold()[0] > 100 * before[0]
    assert gc.isenabled()
    resume_collection()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() > frozen


def test_who_did_not_postpone_it_keeps_every_object_collectable() -> None:
    frozen = gc.get_freeze_count()
    resume_collection()
    assert gc.get_freeze_count() == frozen


def test_a_command_resumes_it_once_its_agent_is_built(tmp_path) -> None:
    """In a process of its own, as only the entry point postpones it."""
    program = f"""
import atexit, gc
from bench.cli import main
atexit.register(lambda: print("threshold", gc.get_threshold()[0]))
import sys
sys.argv = ["glam", "train", "--agent", "random", "--profile", "smoke", "--no-test",
            "--out", {str(tmp_path)!r}]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert f"threshold {gc.get_threshold()[0]}" in done.stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_however_much_it_was() -> None:
    """In a process of its own, as it cannot be taken back; 2.7 GB, of which 67 MB are touched."""
    program = """
from pathlib import Path
import numpy as np
from bench.memory import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

keep_freed_memory()
before = resident()
blocks = [np.empty(2**23) for _ in range(40)]
blocks[-1][:] = 1
held = resident()
del blocks
print(held - before, held - resident())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    touched, given_back = map(int, done.stdout.split())
    assert given_back < touched / 100
