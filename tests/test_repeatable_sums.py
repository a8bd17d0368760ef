"""What a GPU is told before it computes; whether it keeps to it, no machine of ours can say."""

import subprocess
import sys

ASK = """
import os
import torch
from bench.lifecycle import repeat_sums

repeat_sums()
print(torch.are_deterministic_algorithms_enabled())
print(torch.is_deterministic_algorithms_warn_only_enabled())
print(torch.utils.deterministic.fill_uninitialized_memory)
print(os.environ["CUBLAS_WORKSPACE_CONFIG"])
"""


def test_sums_are_asked_to_be_taken_in_one_order() -> None:
    asked = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True)
    assert asked.stdout.split() == ["True", "True", "False", ":4096:8"]
