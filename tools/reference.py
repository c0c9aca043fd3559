"""Writes the pages of the reference that are made from the code: ``python tools/reference.py [--check]``.

The settings come from their types and docstrings, the command line from the help of its commands. `--check` writes
nothing and fails where a page is not what the code says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from trivet.settings import DEVELOPMENT, Entry, reference

PAGES = Path(__file__).resolve().parent.parent / "docs" / "reference"
HELP_WIDTH = 100


def configuration() -> str:
    """Return the page of the settings."""
    entries = reference()
    groups = dict.fromkeys(entry.path.rpartition(".")[0] for entry in entries)
    parts = [CONFIGURATION]
    for group in groups:
        parts.append(f"## `[{group}]`" if group else "## At the top")
        parts.append(table([entry for entry in entries if entry.path.rpartition(".")[0] == group]))
    return "\n\n".join(parts) + "\n"


def table(entries: list[Entry]) -> str:
    """Return one row for each setting."""
    rows = ["| setting | takes | default | environment | what it is for |", "| --- | --- | --- | --- | --- |"]
    for entry in entries:
        cells = (
            f"`{entry.path}`",
            entry.type,
            entry.default,
            "<br>".join(f"`{name}`" for name in entry.env),
            entry.description,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def command_line(command: click.Command) -> str:
    """Return the page of the commands."""
    parts = [COMMAND_LINE]
    for path, help_text in helps(command, "trivet"):
        parts.append(f"## `{path}`\n\n```text\n{help_text}\n```")
    return "\n\n".join(parts) + "\n"


def helps(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """Yield a command and all below it, each with its help."""
    context = click.Context(
        command,
        info_name=path,
        terminal_width=HELP_WIDTH,
        max_content_width=HELP_WIDTH,
        help_option_names=["-h", "--help"],  # as the outermost command hands them down
    )
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from helps(below, f"{path} {name}")


def pages() -> dict[Path, str]:
    """Return every page that is made from the code, with what should be in it."""
    from trivet.cli import command as commands

    return {PAGES / "configuration.md": configuration(), PAGES / "cli.md": command_line(commands)}


CONFIGURATION = f"""\
# Configuration

<!-- Written by tools/reference.py from the types of the settings. Do not edit. -->

A flag wins over the environment, the environment over `trivet.toml`, the file over the default. `TRIVET_CONFIG` names
another file. A name that is not known is an error that says what was probably meant, and all problems are reported at
once. `trivet config explain` shows each setting with its value and where it came from.

`trivet dev` means the `development` environment, in which {len(DEVELOPMENT)} defaults are different."""

COMMAND_LINE = """\
# Command line

<!-- Written by tools/reference.py from the help of the commands. Do not edit. -->

Every command takes `--help`."""


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` say which are old."""
    old = [path for path, wanted in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != wanted]
    if "--check" in arguments:
        for path in old:
            print(f"{path} is not what the code says: run python tools/reference.py", file=sys.stderr)
        return 1 if old else 0
    for path in old:
        path.write_text(pages()[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
