"""A block of a document between two marks, made by a command."""

from __future__ import annotations

import re
from pathlib import Path

from bench.storage import atomic
from bench.storage.parsing import RecordError


def replace_block(document: Path, begin: str, end: str, block: str) -> None:
    """Puts a block in place of the one between two marks of a document.

    Args:
        document: A Markdown file.
        begin: The mark that the block begins with.
        end: The mark that it ends with.
        block: The new block, marks included.

    Raises:
        RecordError: If the marks are not there, once each and in order.
    """
    text = document.read_text(encoding="utf-8")
    pattern = re.escape(begin) + r".*?" + re.escape(end)
    if len(re.findall(pattern, text, re.DOTALL)) != 1:
        problem = f"does not hold the two marks, {begin} and {end}, once each and in order"
        raise RecordError(document, problem, remedy="put them where they belong")
    atomic.write_text(document, re.sub(pattern, lambda _: block, text, flags=re.DOTALL))
