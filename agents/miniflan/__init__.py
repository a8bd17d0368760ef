"""MiniFlan: a small T5 pretrained on instructions, shipped with the benchmark."""
