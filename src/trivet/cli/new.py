"""``trivet new``: a project that passes its own checks and tests."""

from __future__ import annotations

import json
import keyword
import re
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import click

from trivet import __version__
from trivet.cli.output import style

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
SUFFIX = ".tmpl"
RESERVED = frozenset({"tests", "trivet", "notes"})


@click.command()
@click.argument("name")
@click.option(
    "--directory", metavar="DIR", type=click.Path(path_type=Path), help="Where to create it; ./NAME by default."
)
def command(name: str, directory: Path | None) -> int:
    """Create a project: one module with its model, table, operations and tests.

    \b
    Examples:
      trivet new shop
      trivet new order-desk --directory ~/code/orders
    """
    package = name.replace("-", "_")
    if not NAME.fullmatch(name) or keyword.iskeyword(package) or package in RESERVED:
        raise click.UsageError(f"{name!r} is no name for a project: use lower case, such as order-desk.")
    root = directory or Path(name)
    if root.exists() and any(root.iterdir()):
        raise click.ClickException(f"{root} exists and is not empty; choose another directory with --directory.")
    create(root, name)
    click.echo(f"Created {style(str(root), bold=True)}. Next:\n\n  cd {root}\n  make install\n  make dev")
    return 0


def create(root: Path, name: str) -> None:
    """Write a new project.

    Args:
        root: Where; made if it does not exist.
        name: Lower case, words joined by hyphens or underscores.
    """
    package = name.replace("-", "_")
    words = {
        "name": name,
        "package": package,
        "title": name.replace("-", " ").replace("_", " ").capitalize(),
        "version": __version__,
        "source": source_of(installed()),
    }
    _write(files("trivet.cli").joinpath("project"), root, words)


def source_of(origin: str | None) -> str:
    """Return what pip is to install Trivet from: the package index, or the clone that it runs from.

    Args:
        origin: What the installer noted (PEP 610); ``None`` for a release.
    """
    noted = json.loads(origin) if origin is not None else {}
    if not noted.get("dir_info", {}).get("editable"):
        return "trivet"
    return f"--editable {shlex.quote(url2pathname(urlsplit(noted['url']).path))}"


def installed() -> str | None:
    """Return what the installer of this Trivet noted about where it came from."""
    try:
        return distribution("trivet").read_text("direct_url.json")
    except PackageNotFoundError:
        return None


def _write(source: Traversable, target: Path, words: dict[str, str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        name = entry.name.removesuffix(SUFFIX)
        if entry.is_dir():
            _write(entry, target / (words["package"] if name == "package" else name), words)
        elif entry.name.endswith(SUFFIX):
            text = entry.read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace("{{" + word + "}}", value)
            (target / (".gitignore" if name == "gitignore" else name)).write_text(text, encoding="utf-8")
