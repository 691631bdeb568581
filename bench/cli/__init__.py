"""The command line: one module per group of commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys

from agiqa_bench.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the command `agiqa-bench`."""
    # --debug is understood anywhere on the line: people add it at the end of the command that just failed.
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    app(args=["--debug", *arguments] if debug else arguments, prog_name="agiqa-bench")
