"""The command line: one module per group of commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import io
import sys

from agiqa_bench.cli.app import app, start

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the command `agiqa-bench`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A pipe may not know every letter of a table or a prompt; one that is lost is better than a traceback.
            stream.reconfigure(errors="replace")
    # --debug is understood anywhere on the line: people add it at the end of the command that just failed.
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    sys.exit(start(["--debug", *arguments] if debug else arguments))
