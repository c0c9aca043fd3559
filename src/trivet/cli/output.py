"""What commands print: tables and documents, coloured only for people at a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def coloured() -> bool:
    """Whether standard output wants colour: a terminal, and no ``NO_COLOR`` (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def style(text: str, **styles: Any) -> str:
    """Return the text, styled where that is wanted."""
    return click.style(text, **styles) if coloured() else text


def near(place: object) -> str:
    """Return a path, or a place in a file, relative to the working directory where it lies below it."""
    return str(place).removeprefix(f"{Path.cwd()}{os.sep}")


def fail(message: str) -> None:
    """Say on standard error why a command failed."""
    wanted = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.flush()
    sys.stderr.write(f"{click.style('error:', fg='red', bold=True) if wanted else 'error:'} {message}\n")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    encoded = ENCODER.encode(value)
    click.echo(msgspec.json.format(encoded, indent=2).decode())


def _encode(value: Any) -> Any:
    return value.to_builtins() if hasattr(value, "to_builtins") else str(value)


ENCODER = msgspec.json.Encoder(enc_hook=_encode, decimal_format="string")


def width() -> int:
    """Return how many columns there are: those of the terminal, or 100 where nobody looks."""
    return shutil.get_terminal_size((100, 24)).columns


def one_line(text: str, columns: int | None = None) -> str:
    """Return foreign text as one line that can not steer a terminal, cut where it has more columns than it may."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if columns is None or len(line) <= columns else f"{line[: columns - 1]}…"


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, dispensable: Sequence[str] = (), instead: str = ""
) -> None:
    """Print rows in columns; at a terminal the heads are bold.

    Args:
        heads: The names of the columns.
        rows: One text for each column.
        dispensable: Columns that a narrow terminal does without, the first one first.
        instead: Where to see those.
    """
    lines = [list(map(str, row)) for row in rows]
    widths = [max(len(line[i]) for line in [list(heads), *lines]) for i in range(len(heads))]
    left_out = too_wide(dict(zip(heads, widths, strict=True)), dispensable, width()) if sys.stdout.isatty() else []
    kept = [i for i, head in enumerate(heads) if head not in left_out]
    heads, widths = [heads[i] for i in kept], [widths[i] for i in kept]
    lines = [[line[i] for i in kept] for line in lines]

    def row(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    click.echo(style(row(heads), bold=True))
    for line in lines:
        click.echo(row(line))
    if left_out:
        click.echo(f"\nNot shown, for want of room: {', '.join(sorted(left_out)).lower()}. {instead}".rstrip())


def too_wide(widths: Mapping[str, int], dispensable: Sequence[str], room: int) -> list[str]:
    """Return which columns to leave out, so that what is left fits, as far as it can.

    Args:
        widths: Of all columns, by name.
        dispensable: What may be left out, the first one first.
        room: Columns of the terminal.
    """
    left_out: list[str] = []
    for name in dispensable:
        kept = [size for head, size in widths.items() if head not in left_out]
        if sum(kept) + 2 * (len(kept) - 1) <= room:
            break
        left_out.append(name)
    return left_out
