"""``python -m bench`` is ``glam``."""

from bench.cli import main

main()
