"""When a process looks for memory to free."""

import gc
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
