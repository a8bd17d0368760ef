"""GLAM-Bench's harness: profiles, runs, training, evaluation, reports."""
