"""The command line. Each command is a file of its own, imported when it is asked for.

Exit status: 0 it worked, 1 it failed, 2 it was called in a wrong way.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click
from click.exceptions import NoSuchCommand

from trivet import __version__
from trivet.cli.output import fail

COMMANDS = {
    "dev": "Serve an app while you work on it, and reload it.",
    "run": "Serve an app in production.",
    "new": "Create a project.",
    "ops": "List the operations of an app.",
    "call": "Run one operation of an app in this process.",
    "check": "Say what is wrong with an app, and what could be better.",
    "contract": "Write the contracts of an app.",
    "graphql": "Look at what GraphQL documents become.",
    "db": "Look at the tables of an app, and change them without downtime.",
    "events": "Look at events and requests for later, and try again what failed.",
    "views": "Look at the read models of an app, and make one anew.",
    "config": "Explain the settings.",
}


class Commands(click.Group):
    """The commands by name, without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"trivet.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; click would look for similar names among those that were added to it."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="trivet", message="%(prog)s %(version)s")
def command() -> None:
    """Trivet: a platform for APIs that scale.

    \b
    Examples:
      trivet new shop                       create a project
      trivet dev shop.app:app               serve it while you work on it
      trivet run shop.app:app --workers 4   serve it in production
      trivet COMMAND --help                 more about a command
    """


def main() -> None:
    """Run the command line."""
    from trivet.core.fault import FaultyApp
    from trivet.data.database import DatabaseUnavailable
    from trivet.server.listen import CannotListen
    from trivet.server.loading import CannotLoad
    from trivet.server.serve import CannotServe
    from trivet.server.tls import CannotUseCertificate
    from trivet.settings import SettingsError

    try:
        status = command.main(prog_name="trivet", standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has seen enough
        sys.exit(0)
    except (
        CannotListen,
        CannotLoad,
        CannotServe,
        CannotUseCertificate,
        DatabaseUnavailable,
        FaultyApp,
        SettingsError,
    ) as failed:
        fail(str(failed))
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


__all__ = ["command", "main"]
