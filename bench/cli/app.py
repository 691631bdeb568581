"""The application: groups of commands, and how errors reach people."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from agiqa_bench import __version__
from agiqa_bench.cli import (
    attention,
    benchmark,
    datasets,
    leaderboard,
    merge,
    methods,
    protocol_study,
    report,
    run,
    score,
    splits,
    tables,
)
from agiqa_bench.errors import AgiqaError
from agiqa_bench.harmless import one_line
from agiqa_bench.offline import go_offline

# Typer brings click along under changing names; its own BadParameter leads to the base of all usage errors.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


class TopLevel(TyperGroup):
    """Prints the package's own errors in one line, without a traceback unless `--debug` is given; helps at once."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The overview as plain text: what draws the help of a command takes longer to import than all the rest."""
        super(TyperGroup, self).format_help(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One entry per command, its first sentence whole."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, found.get_short_help_str(limit=300)) for name, found in commands if found])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit codes: 0 done, 1 a cell failed, 2 the request was wrong."""
        try:
            return super().invoke(ctx)
        except AgiqaError as error:
            if ctx.params.get("debug"):
                raise
            sys.stderr.write(f"error: {one_line(str(error))}\n")
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    cls=TopLevel,
    name="agiqa-bench",
    help="Compare methods for AI-generated image quality assessment: same splits, same metrics, nothing leaked.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agiqa-bench {__version__}")
        raise typer.Exit


@app.callback()
def top(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Compare methods for AI-generated image quality assessment: same splits, same metrics, nothing leaked."""


def start(arguments: list[str]) -> int:
    """Run the command line and give its exit code; a wrong option, like every other wrong request, is one line."""
    go_offline()
    if broken := next((text for text in arguments if not _is_text(text)), None):
        sys.stderr.write(f"error: '{one_line(broken)}' is not UTF-8 text: rename the file\n")
        return 2
    try:
        code = app(args=arguments, prog_name="agiqa-bench", standalone_mode=False)
    except _USAGE_ERROR as error:
        if not arguments or type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            sys.stderr.write(f"error: {one_line(error.format_message())} (see --help)\n")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("stopped\n")
        return 130
    return code if isinstance(code, int) else 0


def _is_text(argument: str) -> bool:
    """Whether an argument can be written down; a file's name may be bytes that no text has."""
    return not any("\ud800" <= letter <= "\udfff" for letter in argument)


app.command("run")(run.run)
app.command("merge")(merge.merge)
app.command("report")(report.report)
app.add_typer(tables.app, name="tables")
app.command("protocol-study")(protocol_study.protocol_study)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("score")(score.score)
app.command("attention")(attention.attention)
app.command("benchmark")(benchmark.benchmark)
app.add_typer(methods.app, name="methods")
app.add_typer(datasets.app, name="datasets")
app.add_typer(splits.app, name="splits")
