"""What commands print: tables and documents, coloured only for people at a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
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


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns; at a terminal the heads are bold."""
    lines = [list(map(str, row)) for row in rows]
    widths = [max(len(line[i]) for line in [list(heads), *lines]) for i in range(len(heads))]

    def row(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    click.echo(style(row(heads), bold=True))
    for line in lines:
        click.echo(row(line))
