"""Proof that the protocols of an app agree: whatever it is asked, the outcome is the same on all of them.

A copy of the app runs for each protocol, on a database of its own, with an instant that stands still and ids that are
counted. All copies are asked the same things in the same order, so that their states and answers are the same, down to
ids and page tokens. What is asked follows from the operations: what works, what is not there, what is missing or wrong,
what nobody may ask, or somebody without the scopes, or with credentials that are none; what is asked twice, with and
without a key, from a version that is gone, too late, at too great a length, by a client that goes away.
Streams are read meanwhile, and what came of them is compared at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import GenericAlias
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect as kinds
from msgspec import structs

from trivet.app import App
from trivet.contracts.body import body_of, shape_of_parameters
from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.result import Form
from trivet.contracts.sample import NoSampleError, sample
from trivet.contracts.schema import Schemas
from trivet.contracts.subject import is_page_request
from trivet.core.clock import uuid7
from trivet.core.declaration import Kind
from trivet.core.principal import ANONYMOUS, DEVELOPER, Principal
from trivet.core.shape import Struct
from trivet.core.typeinfo import info_of
from trivet.settings import Settings
from trivet.testing.app import app_for_tests
from trivet.testing.asking import Asked, Asker, Connect, ConnectBinary, Grpc, GrpcWeb, Outcome, Rest
from trivet.testing.graphql import Graphql
from trivet.testing.settle import settle
from trivet.transports.rpc.plain import KEPT

ASKERS: Mapping[str, type[Asker]] = {
    "REST": Rest,
    "GraphQL": Graphql,
    "Connect, JSON": Connect,
    "Connect, binary": ConnectBinary,
    "gRPC": Grpc,
    "gRPC-Web": GrpcWeb,
}
"""The protocols, by name."""

SETTLE_SECONDS = 5.0
QUIET_SECONDS = 0.2
"""How long nothing more comes of streams before they are ended."""

UNKNOWN_ID = "0198c1f2-7a00-7000-8000-0000000fffff"


class Disagreement(AssertionError):
    """Protocols answered the same question differently; the message says which, and how."""


class Agreement(Struct):
    """What was compared.

    Attributes:
        protocols: Their names.
        questions: How many things each of them was asked.
        outcomes: How often each code was the answer, with ``OK`` for a value.
        left_out: Operations that were not asked for a value, and why.
    """

    protocols: tuple[str, ...]
    questions: int
    outcomes: Mapping[str, int]
    left_out: Mapping[str, str]


class StillClock:
    """An instant that stands still, and ids that are counted."""

    def __init__(self) -> None:
        self._given = 0

    def now(self) -> datetime:
        """Return the instant, in UTC."""
        return INSTANT

    monotonic = staticmethod(time.monotonic)

    def new_id(self, shard: int = 0) -> UUID:
        """Return the next id."""
        self._given += 1
        step = INSTANT + timedelta(milliseconds=self._given)
        return uuid7(int(step.timestamp() * 1000) * 1_000_000, shard, self._given)


INSTANT = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Question(Struct):
    """One thing that all protocols are asked.

    Attributes:
        op: The operation.
        title: What is special about it.
        asked: What is sent.
        conditional: Whether only protocols with conditional changes can be asked it.
    """

    op: ApiOperation
    title: str
    asked: Asked
    conditional: bool = False

    def __str__(self) -> str:
        return f"{self.op.id}, {self.title}"


async def assert_protocols_agree(app: App, *, settings: Settings | None = None) -> Agreement:
    """Ask an app everything on every protocol, and compare the outcomes.

    GraphQL is left out where the app does not serve it. What its schema refuses counts as what validation refuses on
    the others; conditional changes it has none. Neither GraphQL nor gRPC-Web can send items one by one: their copies
    get them over REST and Connect, so that they know what the others do.

    Args:
        app: The app; copies of it are asked.
        settings: What they are told, in place of `settings_for_tests`.

    Returns:
        What was compared.

    Raises:
        Disagreement: With every question whose outcomes differ.
    """
    served = (settings or app.settings).graphql.enabled
    askers = {name: asker for name, asker in ASKERS.items() if served or asker is not Graphql}
    copies = {name: await _Copy.start(app, settings, asker) for name, asker in askers.items()}
    try:
        return await _compare(copies)
    finally:
        for copy in copies.values():
            await copy.app.stop()


class _Copy:
    """The app as one protocol sees it."""

    def __init__(self, app: App, asker: Asker) -> None:
        self.app = app
        self.asker = asker
        self._sender = asker if asker.instead is None else asker.instead(app, app.service)

    @classmethod
    async def start(cls, app: App, settings: Settings | None, make: type[Asker]) -> _Copy:
        copy = app_for_tests(app, settings)
        service = await copy.start(clock=StillClock())
        return cls(copy, make(copy, service))

    async def ask(self, question: Question) -> Outcome:
        takes = question.op.operation.takes
        outcome = await (self._sender if takes else self.asker).ask(question.op, question.asked)
        if (question.op.operation.kind.writes or takes) and outcome.code is None:
            with suppress(TimeoutError):
                await settle(self.app.service, SETTLE_SECONDS)
        return outcome


class _Reading:
    """One stream, read on every copy until everything was asked.

    Args:
        copies: By protocol.
        question: What is read.
    """

    def __init__(self, copies: Mapping[str, _Copy], question: Question) -> None:
        self.question = question
        self._until = asyncio.Event()
        asked = structs.replace(question.asked, until=self._until)
        self._tasks = {name: asyncio.ensure_future(copy.asker.ask(question.op, asked)) for name, copy in copies.items()}

    async def answers(self) -> dict[str, Outcome]:
        """Go away, and return what came."""
        self._until.set()
        return {name: await task for name, task in self._tasks.items()}


async def _compare(copies: Mapping[str, _Copy]) -> Agreement:
    first, *_ = copies.values()
    api = first.app.service.api
    questions = Questions(api, first.app.settings.limits.body)
    readings = [_Reading(copies, question) for question in questions.streams()]
    compared = _Compared(copies)
    for question in questions:
        answers = {
            name: await copy.ask(question)
            for name, copy in copies.items()
            if copy.asker.conditional or not question.conditional
        }
        if compared.agree(question, answers):
            expected = next(iter(answers.values()))
            if expected.code is None:
                questions.learn(question.op, expected.value)
    await _quiet(copies)
    for reading in readings:
        answers = await reading.answers()
        if compared.agree(reading.question, answers) and not next(iter(answers.values())).value:
            questions.left_out[reading.question.op.id] = "nothing came of it"
    return compared.result(questions.left_out)


async def _quiet(copies: Mapping[str, _Copy]) -> None:
    """Return when nothing more comes of streams."""
    before: list[int] = []
    while (now := [copy.asker.pieces for copy in copies.values()]) != before:
        before = now
        await asyncio.sleep(QUIET_SECONDS)


class _Compared:
    """What was asked so far.

    Args:
        copies: By protocol.
    """

    def __init__(self, copies: Mapping[str, _Copy]) -> None:
        self._copies = copies
        self._differing: list[str] = []
        self._outcomes: dict[str, int] = {}
        self._count = 0

    def agree(self, question: Question, answers: Mapping[str, Outcome]) -> bool:
        """Return whether all answers to a question are the same, and remember it."""
        self._count += 1
        (first, expected), *others = answers.items()
        code = expected.code or "OK"
        self._outcomes[code] = self._outcomes.get(code, 0) + 1
        if all(self._same(first, expected, name, other) for name, other in others):
            return True
        said = "\n".join(f"    {name}: {outcome}" for name, outcome in answers.items())
        self._differing.append(f"{question}\n{said}")
        return False

    def _same(self, first: str, one: Outcome, second: str, other: Outcome) -> bool:
        told = self._copies[first].asker.tells & self._copies[second].asker.tells
        return _heard(one, told) == _heard(other, told)

    def result(self, left_out: Mapping[str, str]) -> Agreement:
        """Return what was compared.

        Raises:
            Disagreement: With every question whose outcomes differ.
        """
        if self._differing:
            problem = f"{len(self._differing)} of {self._count} questions have different answers"
            raise Disagreement("\n".join([problem, *self._differing]))
        return Agreement(
            protocols=tuple(self._copies), questions=self._count, outcomes=self._outcomes, left_out=left_out
        )


def _heard(outcome: Outcome, told: frozenset[str]) -> Outcome:
    """Return an outcome with the notices that count."""
    return structs.replace(outcome, notices={name: v for name, v in outcome.notices.items() if name in told})


class Questions:
    """What an app is asked, in an order in which things exist before they are asked for.

    Args:
        api: The model of the app.
        limit: Bytes that a body may have.

    Attributes:
        left_out: Operations that were not asked for a value, and why.
    """

    def __init__(self, api: Api, limit: int) -> None:
        self._ops = sorted(api.operations, key=lambda op: ORDER.get(op.face.verb, 1))
        self._limit = limit
        self._known: dict[str, str] = {}
        self.left_out: dict[str, str] = {}

    def learn(self, op: ApiOperation, value: Any) -> None:
        """Remember the id of something that exists."""
        if op.result.form is Form.OBJECT and isinstance(value, dict) and isinstance(value.get("id"), str):
            self._known[op.face.noun or ""] = value["id"]

    def streams(self) -> Iterator[Question]:
        """Yield what is read while everything else is asked."""
        for op in self._ops:
            if op.operation.kind is Kind.STREAM and not op.operation.takes:
                with suppress(NoSampleError):  # it is asked below as well, and said there to be left out
                    asked = Asked(arguments=self._arguments(op), principal=DEVELOPER)
                    yield Question(op=op, title="as it works", asked=asked)

    def __iter__(self) -> Iterator[Question]:
        for op in self._ops:
            yield from self._of(op)

    def _of(self, op: ApiOperation) -> Iterator[Question]:
        takes = op.operation.takes
        streams = op.operation.kind is Kind.STREAM and not takes
        try:
            arguments = self._arguments(op)
        except NoSampleError as unknown:
            self.left_out[op.id] = f"{unknown}; an example in its declaration would do"
            return

        def ask(title: str, given: Any = arguments, by: Principal = DEVELOPER, **more: Any) -> Question:
            return Question(op=op, title=title, asked=Asked(arguments=given, principal=by, **more))

        scopes = op.operation.declaration.access.scopes
        if scopes:
            yield ask("by nobody", by=ANONYMOUS)
            yield ask("by somebody without its scopes", by=Principal(subject="somebody"))
        yield ask("with credentials that are none", by=ANONYMOUS, headers={"authorization": "Bearer none"})
        yield from self._wrong(op, arguments, ask)
        if op.operation.kind is not Kind.STREAM:
            yield ask("too late", late=True)
        if body_of(op) is not None:
            yield ask("at too great a length", content=b"0" * (self._limit + 1))
        for name in ids_of(op):
            yield ask(f"with an unknown {name}", {**arguments, name: UNKNOWN_ID})
        if streams:
            return
        if body_of(op) is not None:
            yield ask("by a client that goes away", cut=True)
        existing = self._existing(op, arguments)
        if not op.operation.kind.writes:
            yield ask("as it works", existing)
        else:
            key = {"idempotency-key": op.id}
            if ids_of(op) and op.operation.kind is Kind.COMMAND:
                stale = ask("from a version that is gone", existing, headers={"if-match": '"gone"'})
                yield structs.replace(stale, conditional=True)
            yield ask("as it works", existing, headers=key)
            yield ask("as it worked, with the same key", existing, headers=key)
            for name in ids_of(op):
                yield ask(f"with the same key for another {name}", {**existing, name: UNKNOWN_ID}, headers=key)
            yield ask("as it worked, once more", self._existing(op, arguments))
            yield ask("with a key that is none", existing, headers={"idempotency-key": '"'})
        for index, example in enumerate(op.operation.declaration.examples):
            yield ask(f"by example {index + 1}", plain_arguments(op, example.arguments))

    def _wrong(self, op: ApiOperation, arguments: Mapping[str, Any], ask: Any) -> Iterator[Question]:
        in_path = set(op.face.path_parameters)
        items = op.signature.items
        if items is not None:
            spoiled = spoil(info_of(items.type), arguments[items.name][0])
            if spoiled is not None:
                yield ask("with a wrong item", {**arguments, items.name: [*arguments[items.name], spoiled]})
            yield ask("with no items", {**arguments, items.name: []})
        for parameter in op.signature.parameters:
            name = parameter.name
            if parameter.required and name not in in_path and not is_page_request(parameter.type):
                yield ask(f"without {name}", {n: v for n, v in arguments.items() if n != name})
            if name in arguments:
                spoiled = spoil(info_of(_wire(op, name)), arguments[name])
                if spoiled is not None and not (name in in_path and spoiled == ""):
                    yield ask(f"with a wrong {name}", {**arguments, name: spoiled})

    def _arguments(self, op: ApiOperation) -> dict[str, Any]:
        examples = op.operation.declaration.examples
        if examples:
            return plain_arguments(op, examples[0].arguments)
        schemas = Schemas()
        given = {
            p.name: sample(schemas.of(p.type, "input"), schemas.lookup)
            for p in op.signature.parameters
            if p.required and not is_page_request(p.type)
        }
        if op.signature.items is not None:
            given[op.signature.items.name] = [sample(schemas.of(op.signature.items.type, "input"), schemas.lookup)]
        return plain_arguments(op, given)

    def _existing(self, op: ApiOperation, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments whose ids are those of things that exist, as far as any is known."""
        found = dict(arguments)
        for name in ids_of(op):
            noun = op.face.noun if name == "id" else name.removesuffix("_id")
            found[name] = self._known.get(noun or "", found[name])
        return _with_known(found, self._known)  # type: ignore[no-any-return]  # a dict stays one


ORDER = {"create": 0, "delete": 2}
"""Which verbs come first and last."""


def ids_of(op: ApiOperation) -> list[str]:
    """Return the parameters that name one thing each."""
    names = [p.name for p in op.signature.parameters if p.required]
    return [name for name in names if name == "id" or name.endswith("_id")]


def _with_known(value: Any, known: Mapping[str, str]) -> Any:
    """Return a value in which members such as ``customer_id`` name a customer that exists."""
    if isinstance(value, dict):
        return {
            name: known[name.removesuffix("_id")]
            if isinstance(name, str) and name.endswith("_id") and name.removesuffix("_id") in known
            else _with_known(item, known)
            for name, item in value.items()
        }
    return [_with_known(item, known) for item in value] if isinstance(value, list | tuple) else value


def _wire(op: ApiOperation, name: str) -> Any:
    shape = shape_of_parameters(op, op.signature.parameters)
    return next((f.type for f in msgspec.structs.fields(shape) if f.name == name), Any)


def plain_arguments(op: ApiOperation, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as plain values of the right types, with a page request laid out."""
    laid_out: dict[str, Any] = {}
    items = op.signature.items
    taken = {} if items is None else {items.name: _plain(given[items.name], GenericAlias(list, items.type))}
    for name, value in given.items():
        if name in taken:
            continue
        parameter = op.signature.parameter(name)
        paged = parameter is not None and is_page_request(parameter.type)
        laid_out.update(msgspec.to_builtins(value) if paged else {name: value})
    shape = shape_of_parameters(op, op.signature.parameters)
    plain = _plain(laid_out, shape)
    return {**taken, **{name: plain[name] for name in laid_out if name in plain}}


def _plain(given: Any, wanted: Any) -> Any:
    try:
        typed = msgspec.convert(msgspec.json.decode(msgspec.json.encode(given)), wanted)
    except msgspec.ValidationError as unfit:
        raise NoSampleError(str(unfit)) from unfit
    return msgspec.to_builtins(typed, builtin_types=KEPT)


def spoil(info: kinds.Type, value: Any) -> Any:
    """Return a value that the type refuses, of a kind that every protocol can send; ``None`` where there is none."""
    if isinstance(info, kinds.Metadata):
        return spoil(info.type, value)
    if isinstance(info, kinds.UnionType):
        return next((s for m in info.types if (s := spoil(m, value)) is not None), None)
    if isinstance(info, kinds.StructType) and isinstance(value, dict):
        for field in info.fields:
            if field.encode_name in value:
                spoiled = spoil(field.type, value[field.encode_name])
                if spoiled is not None:
                    return {**value, field.encode_name: spoiled}
        return None
    if isinstance(info, kinds.ListType | kinds.VarTupleType) and isinstance(value, list):
        spoiled = spoil(info.item_type, value[0]) if value else None
        if spoiled is not None:
            return [spoiled, *value[1:]]
        return value * (info.max_length + 1) if info.max_length and value and info.max_length < 200 else None
    if isinstance(info, kinds.IntType):
        for bound, step in ((info.ge, -1), (info.le, 1), (info.gt, 0), (info.lt, 0)):
            if bound is not None:
                return bound + step
        return 2**60
    if isinstance(info, kinds.StrType):
        if info.max_length is not None and info.max_length < 500:
            return "x" * (info.max_length + 1)
        return "\u00a7" if info.pattern else None
    if isinstance(info, kinds.UUIDType | kinds.DateType | kinds.DecimalType | kinds.TimeType):
        return "neither"
    return None
