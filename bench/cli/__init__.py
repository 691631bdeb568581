"""The command line: one module per group of commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import io
import signal
import sys

from agiqa_bench.cli.app import app, start

__all__ = ["app", "main"]

_SIGNALLED = 128
"""What exit codes of commands that a signal has stopped begin at."""


def main() -> None:
    """Entry point of the command `agiqa-bench`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A pipe may not know every letter of a table or a prompt; one that is lost is better than a traceback.
            stream.reconfigure(errors="replace")
    # --debug is understood anywhere on the line: people add it at the end of the command that just failed.
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    code = start(["--debug", *arguments] if debug else arguments)
    if code >= _SIGNALLED:
        # All is told and put away. A second Ctrl-C while the interpreter ends would change the exit code.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)
