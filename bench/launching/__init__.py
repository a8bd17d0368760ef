"""Many runs: side by side, as jobs of a queue, over grids of settings; and how far they are."""
