"""The commands of ``glam``, one module each; `bench.cli` puts them together."""
