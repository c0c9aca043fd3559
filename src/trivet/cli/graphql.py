"""``trivet graphql``: what a document becomes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trivet.cli.target import app_argument, load_for
from trivet.core.fault import FaultyApp

if TYPE_CHECKING:
    from trivet.app import App
    from trivet.contracts.graphql.types import Graph


@click.group()
def command() -> None:
    """Look at what GraphQL documents become."""


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@app_argument
@click.option("--operation", metavar="NAME", help="Which operation of the document; needed where it has several.")
@click.option("--variables", metavar="JSON", default="{}", help="The variables, as a JSON object.")
@click.option("--source", is_flag=True, help="Also print the Python that projects the values.")
def plan(file: str, app: str | None, app_dir: str, operation: str | None, variables: str, source: bool) -> int:
    """Print the calls that a document makes, level by level, and what it costs at most.

    \b
    Examples:
      trivet graphql plan orders.graphql shop.app:app
      echo '{ products(first: 100) { nodes { sku } } }' | trivet graphql plan - shop.app:app
    """
    import asyncio

    import msgspec

    from trivet.core.error import Error
    from trivet.transports.graphql.errors import refusals
    from trivet.transports.graphql.explain import explain, sources
    from trivet.transports.graphql.persisted import Documents
    from trivet.transports.graphql.request import Request
    from trivet.transports.graphql.service import GraphqlService

    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    try:
        given: dict[str, Any] = msgspec.json.decode(variables, type=dict[str, Any])
    except msgspec.DecodeError as malformed:
        raise click.UsageError(f"--variables is no JSON object: {malformed}") from malformed
    loaded = load_for(app, app_dir)
    graph = _graph(loaded)
    built = loaded.build()

    async def made() -> list[str]:
        service = GraphqlService(built.api, graph, built.runtime, Documents(built.runtime.settings.graphql))
        try:
            prepared = await service.prepare(Request(query=text, operation_name=operation, variables=given), caller="")
            found, values = prepared.plan, prepared.variables
            lines = [*explain(found, values)]
            return [*lines, "", *sources(found)] if source else lines
        finally:
            service.close()

    try:
        lines = asyncio.run(made())
    except Error as refused:
        for problem in refusals(refused, ""):
            where = "".join(f"{place['line']}:{place['column']}: " for place in problem.get("locations", ()))
            click.echo(f"{file}: {where}{problem['message']}", err=True)
        return 1
    click.echo("\n".join(lines))
    return 0


def _graph(app: App) -> Graph:
    """Return the GraphQL types of an app.

    Raises:
        FaultyApp: With everything that is wrong.
        click.UsageError: It serves no GraphQL.
    """
    graph, faults = app.graph()
    if faults:
        raise FaultyApp(app.name, faults)
    if graph is None:
        raise click.UsageError(f"{app.name} serves no GraphQL: it has no operations, or graphql.enabled is false.")
    return graph
