"""The command line as a whole: its commands, and how errors end it.

A command parses, calls one function and shows the result. It imports what it needs inside, and returns its exit code,
or None for 0.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

import mcltool
from mcltool.cli.data import data_group
from mcltool.cli.evaluate import compare, evaluate
from mcltool.cli.machine import bench, completion, demo, doctor
from mcltool.cli.options import Commands
from mcltool.cli.pack import pack_group, pair
from mcltool.cli.plugins import plugins_group
from mcltool.cli.train import fit, runs_group
from mcltool.cli.translate import explain, translate
from mcltool.cli.translate_dir import manifest_group, translate_dir
from mcltool.cli.weights import export, publish, weights_group
from mcltool.core.errors import HungError, McltoolError, printable
from mcltool.core.patience import own_process
from mcltool.core.process import keep_freed_memory, settle_threads


class Program(Commands):
    """The whole program: every error ends in one line on stderr and an exit code."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in given  # accepted anywhere, so that it can be appended to the line that failed
        given = [word for word in given if word != "--debug"]
        extra |= {"prog_name": "mcltool", "standalone_mode": False}
        keep_freed_memory()
        settle_threads()
        try:
            with _notes_on_stderr():
                sys.exit(super().main(given, **extra))
        except Exception as error:
            if debug:
                raise
            code = _report(error)
            if isinstance(error, HungError):
                os._exit(code)
            sys.exit(code)


@contextmanager
def _notes_on_stderr() -> Iterator[None]:
    """Print what the package logs, as plain lines: from INFO on, and in all but the first of torchrun's processes only
    warnings. In a library this is the caller's decision."""
    log, handler = logging.getLogger("mcltool"), logging.StreamHandler(sys.stderr)
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def _report(error: Exception) -> int:
    """Print in one line what went wrong; returns the exit code."""
    if isinstance(error, click.Abort):
        message, code = "interrupted", 130
    elif isinstance(error, click.ClickException):
        message, code = error.format_message(), error.exit_code
        if isinstance(error, click.MissingParameter | click.NoSuchOption) and error.ctx:
            message += f" See {error.ctx.command_path} --help"
    elif isinstance(error, McltoolError):
        message, code = str(error), error.exit_code
    elif isinstance(error, OSError) and error.strerror:
        path = error.filename2 or error.filename  # of a copy, its target
        message, code = ": ".join([*([str(path)] if path else []), error.strerror]), 1
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message += "; make room, then run the same command again"
    else:
        what = f"{type(error).__name__}: {error}"
        message, code = f"a bug in mcltool or in a plugin: {what} (add --debug to see the traceback)", 1
    click.echo(f"mcltool: {printable(' '.join(message.split()))}", err=True)
    return code


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="mcltool COMMAND --help explains each command, with examples.",
)
@click.version_option(mcltool.__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Exemplar-guided image translation with MCL-Net: what a condition shows, in the style of a photo.

    A condition is a label map, a pose or an edge drawing; an exemplar is any photo of the wanted style.

    \b
    mcltool demo --pretrained                   see what it does, in seconds
    mcltool fit --plugin ade20k --root DIR      train on a data set
    mcltool translate-dir masks/ photos/ out/   turn a folder of conditions into photos
    """


for command in (
    demo, fit, translate_dir, translate, manifest_group, explain, evaluate, compare, plugins_group, runs_group,
    data_group, pack_group, pair, weights_group, bench, export, publish, doctor, completion,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """The console script."""
    with own_process():
        cli()
