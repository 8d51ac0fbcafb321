"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path)
FILE = click.Path(path_type=Path)
DEVICE_HELP = "Where to compute: cuda, cuda:1, mps or cpu.  [default: the fastest there is]"
PRECISION = click.Choice(["auto", "bf16", "fp16", "fp32"])
