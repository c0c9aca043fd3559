"""``trivet config``: the settings, explained."""

from __future__ import annotations

import difflib
from typing import Any

import click

from trivet.cli.output import json_option, print_json, print_table, width
from trivet.cli.target import settings_for


@click.group()
def command() -> None:
    """Explain the settings.

    \b
    Examples:
      trivet config explain                 every setting, its value, and where it came from
      trivet config explain server.port     one of them, with what it is for
      trivet config schema > trivet.schema.json
    """


@command.command(short_help="Show each setting and where it came from.")
@click.argument("path", required=False)
@click.option("--dev", is_flag=True, help="As `trivet dev` would see them.")
@json_option
def explain(path: str | None, dev: bool, as_json: bool) -> int:
    """Show each setting with its value and where it came from; secrets are hidden.

    \b
    Examples:
      trivet config explain
      trivet config explain server
      PORT=80 trivet config explain server.port --json
    """
    from trivet.settings.describe import leaves
    from trivet.settings.reference import reference, shown

    settings, provenance = settings_for({"environment": "development"} if dev else {})
    rows: list[dict[str, Any]] = []
    for entry in reference():
        if path is not None and entry.path != path and not entry.path.startswith(f"{path}."):
            continue
        value: object = settings
        for name in entry.path.split("."):
            value = getattr(value, name)
        rows.append(
            {
                "path": entry.path,
                "value": shown(value, leaves()[entry.path]),
                "source": str(provenance[entry.path]),
                "type": entry.type,
                "default": entry.default,
                "environment": entry.env,
                "description": entry.description,
            }
        )
    if not rows:
        near = difflib.get_close_matches(str(path), [entry.path for entry in reference()], n=1)
        near += difflib.get_close_matches(str(path), {entry.path.partition(".")[0] for entry in reference()}, n=1)
        meant = f"did you mean {near[0]}?" if near else "`trivet config explain` lists them."
        raise click.UsageError(f"There is no setting {path!r}; {meant}")
    if as_json:
        print_json(rows)
    elif len(rows) == 1:
        for name, text in rows[0].items():
            said = text if isinstance(text, str) else ", ".join(text)
            click.echo(click.wrap_text(f"{name + ':':<13} {said}", width(), "", " " * 14))
    else:
        print_table(("SETTING", "VALUE", "SOURCE"), [(r["path"], r["value"], r["source"]) for r in rows])
    return 0


@command.command()
def schema() -> int:
    """Print the JSON Schema of trivet.toml, for editors.

    \b
    Example:
      trivet config schema > trivet.schema.json
    """
    from trivet.settings.reference import json_schema

    print_json(json_schema())
    return 0
