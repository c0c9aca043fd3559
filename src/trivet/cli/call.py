"""``trivet call``: run one operation in this process, directly or through a protocol."""

from __future__ import annotations

import asyncio
import difflib
import sys
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from trivet.cli.output import fail, print_json
from trivet.cli.target import app_argument, load_for
from trivet.contracts.subject import is_page_request
from trivet.core.declaration import Kind
from trivet.core.decode import Decoder
from trivet.core.error import Error, InvalidArgument, Violation
from trivet.core.operation import Operation
from trivet.core.page import PageRequest
from trivet.core.patch import Patch
from trivet.core.principal import DEVELOPER
from trivet.core.signature import Parameter

if TYPE_CHECKING:
    from trivet.app import App


PROTOCOLS: tuple[str, ...] = ("rest", "graphql", "connect", "grpc", "grpc-web")


@click.command(context_settings={"ignore_unknown_options": True})
@app_argument
@click.argument("operation", required=False)
@click.argument("arguments", nargs=-1, metavar="[--NAME VALUE]...", type=click.UNPROCESSED)
@click.option("--json-args", metavar="JSON", help="All arguments as one JSON object; - reads standard input.")
@click.option("--via", type=click.Choice(PROTOCOLS), help="Ask through this protocol, as its clients do.")
@click.option("--dev", is_flag=True, help="In the development environment, as under `trivet dev`.")
def command(
    app: str | None,
    app_dir: str,
    operation: str | None,
    arguments: tuple[str, ...],
    json_args: str | None,
    via: str | None,
    dev: bool,
) -> int:
    """Run one operation of an app in this process, as the developer, through all of its policies.

    APP is module:attribute; without it, `app` in trivet.toml says which. A value is text, or JSON where the parameter
    is not text. The result is printed as JSON, an error as the problem that REST would answer with, with exit status 1.
    With --via, arguments that fit are written as that protocol has them, and what it answers is read back.
    Items that an operation takes are read from standard input, each as JSON on a line of its own.

    \b
    Examples:
      trivet call shop.app:app catalog.list_products --page '{"page_size": 3}'
      trivet call shop.app:app catalog.get_product --id 01985f7e-1c2a-7b3c-8d4e-5f60718293a4
      trivet call shop.app:app catalog.create_product --json-args - < product.json
      trivet call shop.app:app catalog.list_products --page '{"page_size": 1}' --via grpc
      trivet call shop.app:app catalog.import_products < products.ndjson
    """
    if app is not None and ":" not in app:  # `trivet call get_product`: the app is the one in trivet.toml
        arguments = (operation, *arguments) if operation is not None else arguments
        app, operation = None, app
    if operation is None:
        raise click.UsageError("Which operation? `trivet ops` lists them.")
    loaded = load_for(app, app_dir, {"log.level": "error", "environment": "development" if dev else None})
    found = _operation(loaded, operation)
    given = _given(arguments, json_args, found)
    return asyncio.run(_run(loaded, found, given) if via is None else _ask(loaded, found, given, via))


def _operation(app: App, name: str) -> Operation[..., Any]:
    known = {operation.id: operation for module in app.modules for operation in module.operations}
    if name in known:
        return known[name]
    ends = [id for id in known if id.endswith(f".{name}")]
    if len(ends) == 1:
        return known[ends[0]]
    near = ends or difflib.get_close_matches(name, known, n=3)
    meant = f" Did you mean {' or '.join(near)}?" if near else " `trivet ops` lists them."
    raise click.UsageError(f"{app.name} has no operation {name!r}.{meant}")


class Text(str):
    """What stands for a value on the command line."""

    __slots__ = ()


def _given(arguments: tuple[str, ...], json_args: str | None, operation: Operation[..., Any]) -> dict[str, Any]:
    """Return what the command line gave, not yet checked: parsed JSON, or `Text`."""
    given: dict[str, Any] = {}
    if json_args is not None:
        text = sys.stdin.read() if json_args == "-" else json_args
        try:
            given = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as malformed:
            raise click.UsageError(f"--json-args is not a JSON object: {malformed}") from malformed
    words = iter(arguments)
    for word in words:
        if not word.startswith("--"):
            raise click.UsageError(f"{word!r}: write arguments as --name value")
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        text = value if equals else next(words, None)
        if text is None:
            raise click.UsageError(f"--{name} needs a value")
        parameter = operation.signature.parameter(name)
        if parameter is None:
            names = [p.name for p in operation.signature.parameters]
            near = difflib.get_close_matches(name, names, n=1) or names
            raise click.UsageError(f"{operation.id} has no argument {name!r}; it takes {', '.join(near) or 'none'}")
        given[name] = Text(text)
    return given


def typed(operation: Operation[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as the handler takes them.

    Raises:
        InvalidArgument: With everything that does not fit.
    """
    arguments: dict[str, Any] = {}
    violations: list[Violation] = []
    for parameter in operation.signature.parameters:
        if parameter.name not in given:
            if parameter.required and not is_page_request(parameter.type):
                violations.append(Violation(detail="is required", pointer=f"#/{parameter.name}"))
            elif parameter.required:
                arguments[parameter.name] = PageRequest()
            continue
        try:
            arguments[parameter.name] = _convert(parameter, given[parameter.name])
        except InvalidArgument as refused:
            violations += refused.violations
    unknown = given.keys() - {p.name for p in operation.signature.parameters}
    violations += [Violation(detail="unknown argument", pointer=f"#/{name}") for name in sorted(unknown)]
    if violations:
        raise InvalidArgument(violations=tuple(violations))
    return arguments


async def items_in(operation: Operation[..., Any]) -> AsyncIterator[Any]:
    """Yield the items on standard input, as they are asked for.

    Raises:
        InvalidArgument: With everything that is wrong with one, where it is.
    """
    items = operation.signature.items
    assert items is not None  # it takes some
    decoder: Decoder[Any] = Decoder(items.type)
    place = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            try:
                yield decoder.json(line.encode())
            except InvalidArgument as refused:
                raise InvalidArgument(
                    detail=refused.detail,
                    violations=tuple(
                        Violation(detail=each.detail, pointer=f"#/{items.name}/{place}{each.pointer[1:]}")
                        for each in refused.violations
                    ),
                ) from refused
            place += 1


def _convert(parameter: Parameter, value: Any) -> Any:
    decoder: Decoder[Any] = Decoder(parameter.type)
    pointer = f"#/{parameter.name}"
    if not isinstance(value, Text):
        return decoder.convert(value, pointer=pointer)
    try:
        return decoder.convert(str(value), text=True, pointer=pointer)
    except InvalidArgument:
        try:
            parsed = msgspec.json.decode(str(value))
        except msgspec.DecodeError:
            parsed = None
        if parsed is None or isinstance(parsed, str):
            raise
        return decoder.convert(parsed, pointer=pointer)


async def _run(app: App, operation: Operation[..., Any], given: dict[str, Any]) -> int:
    from trivet.server.direct import run_operation

    async with app:
        try:
            arguments = typed(operation, given)
            if operation.signature.items is not None:
                arguments[operation.signature.items.name] = items_in(operation)
            value = await run_operation(app.service, operation, arguments, DEVELOPER)
            if operation.kind is Kind.STREAM:
                async for item in value:
                    print_json(item)
            elif value is not None:
                print_json(value)
        except Error as refused:
            print_json(problem_of(refused))
            fail(f"{operation.id}: {refused.detail or refused.message}")
            return 1
    return 0


async def _ask(app: App, operation: Operation[..., Any], given: dict[str, Any], via: str) -> int:
    """Ask through a protocol, and print what came."""
    from trivet.testing.agreement import plain_arguments
    from trivet.testing.asking import Asked, Connect, Grpc, GrpcWeb, Rest
    from trivet.testing.graphql import Graphql

    askers: dict[str, Any] = dict(zip(PROTOCOLS, (Rest, Graphql, Connect, Grpc, GrpcWeb), strict=True))
    if operation.kind is Kind.STREAM and not operation.takes:
        raise click.UsageError(
            f"{operation.id} is a stream, which has no end: leave --via out, or read it with curl -N"
        )
    if operation.takes and askers[via].instead is not None:
        raise click.UsageError(f"{via} has no way to send items one by one: say --via rest, connect or grpc")
    async with app:
        op = next((op for op in app.service.api.operations if op.operation is operation), None)
        if op is None:
            raise click.UsageError(f"{operation.id} is internal: no protocol serves it")
        if via == "graphql" and not app.settings.graphql.enabled:
            raise click.UsageError("graphql.enabled is false")
        try:
            fitting = typed(operation, given)
            if operation.signature.items is not None:
                fitting[operation.signature.items.name] = [item async for item in items_in(operation)]
            arguments = plain_arguments(
                op, {name: v.to_builtins() if isinstance(v, Patch) else v for name, v in fitting.items()}
            )
        except InvalidArgument as refused:
            print_json(problem_of(refused))
            fail(f"{operation.id}: {refused.detail or refused.message}")
            return 1
        outcome = await askers[via](app, app.service).ask(op, Asked(arguments=arguments, principal=DEVELOPER))
        if outcome.code is not None:
            print_json({"code": outcome.code.lower(), "reason": outcome.reason, **outcome.metadata})
            fail(f"{operation.id}: {outcome.reason}")
            return 1
        if outcome.value is not None:
            print_json(outcome.value)
    return 0


def problem_of(error: Error) -> dict[str, Any]:
    """Return an error as the problem document that REST would answer with."""
    from trivet.contracts.problem import slug_of, status_of

    problem: dict[str, Any] = {
        "type": f"/problems/{slug_of(error)}",
        "title": error.message,
        "status": status_of(error),
        "code": error.code.name.lower(),
        "reason": error.reason,
    }
    if error.detail:
        problem["detail"] = error.detail
    if isinstance(error, InvalidArgument) and error.violations:
        problem["errors"] = error.violations
    return problem | error.metadata()
