"""The frame of the command line: help for an empty command, suggestions for mistyped ones, one-line errors."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from mcltool.core.errors import HungError, McltoolError, UsageError, did_you_mean, printable
from mcltool.core.process import keep_freed_memory, settle_threads


class Commands(click.Group):
    """A group that shows its help when called without a command, and suggests names for a mistyped one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not (name.startswith("-") or name in self.commands or ctx.resilient_parsing):
            hint = did_you_mean(name, self.commands)
            raise UsageError(f"no command {name!r}{hint}; there are {', '.join(sorted(self.commands))}")
        return super().resolve_command(ctx, args)


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
    """Print what the package logs, from INFO on, as plain lines. In a library this is the caller's decision."""
    log, handler = logging.getLogger("mcltool"), logging.StreamHandler(sys.stderr)
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
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
