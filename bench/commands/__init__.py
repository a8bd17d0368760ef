"""Commands of ``glam`` that `bench.cli` adds to its own."""
