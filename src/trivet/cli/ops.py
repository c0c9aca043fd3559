"""``trivet ops``: the operations of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trivet.cli.output import json_option, print_json, print_table
from trivet.cli.target import app_argument, load_for
from trivet.core.declaration import Access
from trivet.core.fault import FaultyApp

if TYPE_CHECKING:
    from trivet.app import App


@click.command()
@app_argument
@click.option("--module", "module", metavar="NAME", help="Only those of one module.")
@json_option
def command(app: str | None, app_dir: str, module: str | None, as_json: bool) -> int:
    """List the operations of an app with their REST, GraphQL and RPC faces.

    \b
    Examples:
      trivet ops shop.app:app
      trivet ops shop.app:app --module catalog
      trivet ops shop.app:app --json | jq '.[].rest'
    """
    loaded = load_for(app, app_dir)
    names = [each.name for each in loaded.modules]
    if module is not None and module not in names:
        raise click.UsageError(f"{loaded.name} has no module {module!r}; it has {', '.join(names)}.")
    rows = [row for row in rows_of(loaded) if module in (None, row["module"])]
    if as_json:
        print_json(rows)
        return 0
    heads = ("operation", "kind", "rest", "access", "graphql", "rpc")
    print_table(
        [head.upper() for head in heads],
        [[str(row[head] or "-") for head in heads] for row in rows],
        dispensable=("RPC", "GRAPHQL", "KIND", "ACCESS"),
        instead="A wider terminal or --json shows everything.",
    )
    return 0


def rows_of(app: App) -> list[dict[str, Any]]:
    """Return what the table shows, internal operations included.

    Raises:
        FaultyApp: With everything that is wrong.
    """
    api, faults = app.describe()
    if faults:
        raise FaultyApp(app.name, faults)
    served = {op.id: op for op in api.operations}
    rows = []
    for module in app.modules:
        for operation in module.operations:
            op = served.get(operation.id)
            rows.append(
                {
                    "operation": operation.id,
                    "module": module.name,
                    "kind": operation.kind.value,
                    "access": access_of(operation.declaration.access),
                    "rest": f"{op.face.method} {op.path}" if op else None,
                    "graphql": op.face.graphql if op else None,
                    "rpc": f"{app.name}.{module.name}.v{module.major}.{_pascal(module.name)}Service/{op.face.rpc}"
                    if op
                    else None,
                    "summary": operation.doc.split("\n", 1)[0],
                    "place": str(operation.place),
                }
            )
    return rows


def access_of(access: Access) -> str:
    """Say who may call an operation."""
    if access.public:
        return "public"
    if access.internal:
        return "internal" if access.acts_as == "caller" else "internal, as module"
    return " ".join(access.scopes)


def _pascal(name: str) -> str:
    from trivet.core.naming import pascal

    return pascal(name)
