"""Mutated inputs for every reader of foreign bytes: ``python tests/fuzz/run.py --help``."""
