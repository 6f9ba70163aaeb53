"""The ``edge`` command: names its subcommands, maps errors to exit codes; imports nothing heavy."""

from __future__ import annotations

import io
import sys
import traceback
from importlib import import_module

import click

from edge.interrupt import WORDS, Interrupt
from edge.say import say
from edge.service.journal import stderr_is_journal
from edge.stdout import outlive_terminal
from engines.errors import OutriderError
from engines.redact import redact

INTERRUPTED = 130
"""128 + SIGINT, as in shells: an interrupted command is not taken for a finished one."""


class LazyGroup(click.Group):
    """A click group whose commands are imported only when called: start-up stays fast.

    ``table`` maps a command's name to ("module:attribute", its one-line help).
    """

    def __init__(self, *, table: dict[str, tuple[str, str]], help: str) -> None:
        super().__init__(help=help)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Command names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])


def invoke(command: click.Command, name: str, interrupt: Interrupt | None = None) -> None:
    """Run ``command`` and exit with the project's codes.

    An ``OutriderError`` becomes its message on stderr and its own exit code; wrong usage exits 2,
    a signal 128 and its number, and an unexpected error 5, with a traceback.
    """
    outlive_terminal()
    if interrupt is not None:
        interrupt.begin()
    try:
        try:
            code = command.main(prog_name=name, standalone_mode=False)
        except BaseException as exc:
            if interrupt is not None and interrupt.number:  # whatever became of it on its way
                raise click.Abort from exc
            raise
    except click.ClickException as exc:
        shown = io.StringIO()
        exc.show(shown)
        say(shown.getvalue().rstrip())
        sys.exit(2)
    except click.Abort:  # a run ends in order before this: edge.run.app fetches its signals
        say(f"{name}: {WORDS}")
        sys.exit(INTERRUPTED if interrupt is None else interrupt.code)
    except Exception as exc:
        sys.exit(_report(exc, name))
    finally:
        if interrupt is not None:
            interrupt.done()
    sys.exit(code if isinstance(code, int) else 0)


def _report(exc: Exception, name: str) -> int:
    """Print an error on stderr; returns the exit code."""
    known = isinstance(exc, OutriderError)
    text = str(exc) if known else f"this is a fault of Outrider:\n{traceback.format_exc().rstrip()}"
    error = "<3>" if stderr_is_journal() else ""  # the priority of a line; sd-daemon(3)
    for line in redact(text).split("\n"):
        say(f"{error}{name}: {line or type(exc).__name__}")
    return exc.exit_code if isinstance(exc, OutriderError) else 5


commands = LazyGroup(
    help="Outrider: real-time detection and segmentation on camera frames.",
    table={
        "run": ("edge.commands.run:run", "Run the perception app on a camera, video or scene."),
        "profile": ("edge.commands.profile:profile", "Run it and report where the time goes."),
        "bench": ("edge.commands.bench:bench", "Measure stages, bare engine and pipeline here."),
        "doctor": ("edge.commands.doctor:doctor", "Say what this machine can do."),
        "check": ("edge.commands.check:check", "Validate settings, model and source."),
        "latency": ("edge.commands.latency:latency", "Measure from a screen to a camera's frame."),
        "service": ("edge.commands.service:service", "Run as a service of systemd, from boot on."),
    },
)


def main(interrupt: Interrupt | None = None) -> None:
    """The command, after ``edge.start`` has seen to signals."""
    invoke(commands, "edge", interrupt)
