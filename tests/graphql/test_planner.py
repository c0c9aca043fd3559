"""The planner: how often it works, how much it keeps, and that it does not hold others up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
import weakref

import pytest
from graphql import GraphQLError

from tests.graphql.torture import torture
from trivet.app import App
from trivet.contracts.describe import describe
from trivet.contracts.graphql.read import graph_of
from trivet.contracts.graphql.schema import schema_of
from trivet.core.call import Call
from trivet.core.principal import ANONYMOUS, Principal
from trivet.settings import GraphqlSettings
from trivet.testing import Client
from trivet.transports.graphql import document as documents
from trivet.transports.graphql import turns
from trivet.transports.graphql.bounded import Bounded
from trivet.transports.graphql.compile import Compiler
from trivet.transports.graphql.document import Planner
from trivet.transports.graphql.refusals import DocumentInvalid, DocumentRefused, PlannerBusy, TooManyNewDocuments

API, _ = describe("torture", [torture])
GRAPH, _ = graph_of(API)
SCHEMA = schema_of(GRAPH)


def planner(limits: GraphqlSettings | None = None) -> Planner:
    compiler = Compiler(GRAPH, SCHEMA, lambda field: None)
    return Planner(SCHEMA, compiler, limits or GraphqlSettings(), introspection=False, suggestions=False)


def long_document(number: int = 0) -> str:
    return f"query Q{number} {{ " + " ".join("... { __typename }" for _ in range(60)) + " }"


async def test_a_document_is_read_once_and_has_a_plan_for_each_answer_to_its_conditions() -> None:
    subject = planner()
    source = "query ($a: Boolean!) { __typename @skip(if: $a) tree(size: 1) { name twin @include(if: $a) { size } } }"
    document = await subject.document(source, "me")
    assert await subject.document(source, "me") is document
    operation = document.operation(None)
    plans = [await subject.plan(operation, subject.variables(operation, {"a": a}), "me") for a in (True, False, True)]
    assert plans[0] is plans[2]
    assert [key for key, _ in plans[0].members] == ["tree"]
    assert [key for key, _ in plans[1].members] == ["__typename", "tree"]
    assert [len(plan.steps[0].unit.edges) for plan in plans] == [1, 0, 1]


async def test_what_is_kept_is_bounded_under_a_flood_of_documents() -> None:
    subject = planner(GraphqlSettings(plans=50, plans_size=1_000_000))
    first = weakref.ref(await subject.document("{ __typename }", "me"))
    for number in range(500):
        operation = (await subject.document(f"{{ tree(size: {number}) {{ name }} }}", "me")).operation(None)
        await subject.plan(operation, subject.variables(operation, {}), "me")
    assert subject.kept == (50, 50)
    gc.collect()
    assert first() is None


def test_what_is_kept_is_bounded_by_its_weight_too() -> None:
    kept: Bounded[str] = Bounded(entries=100, weight=10)
    for number in range(20):
        kept.put(number, "x", 3)
    assert (len(kept), kept.weighs) == (3, 9)
    kept.put(19, "y", 9)
    assert (kept.get(19), len(kept), kept.weighs) == ("y", 1, 9)
    kept.put("large", "x", 11)
    assert (len(kept), kept.weighs) == (0, 0)


async def test_a_long_document_is_read_in_a_thread_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, where = planner(), []
    read = subject._reader.read

    def noted(source: str) -> documents.Document:
        where.append(threading.current_thread())
        return read(source)

    monkeypatch.setattr(subject._reader, "read", noted)
    found = await asyncio.gather(*(subject.document(long_document(), str(n)) for n in range(20)))
    assert len({id(document) for document in found}) == 1
    assert len(where) == 1
    assert where[0] is not threading.main_thread()


@pytest.mark.parametrize(
    ("source", "here"),
    [
        ("{ tree(size: 1) { name size flat { id text } } }", True),
        ("{ tree(size: 1) { " + "name " * 30 + "} }", False),
        ("{ tree(" + " ".join(f"a{n}: 1" for n in range(80)) + ") { name } }", False),
        ("{ tree(size: 1) { " + "twin { name } " * 35 + "} }", False),
        ("{ tree(size: 1) { " + "...F " * 30 + "} } fragment F on Tree { name twin { name } }", False),
    ],
    ids=["plain", "repeated", "arguments", "merged", "fragments"],
)
async def test_short_documents_stay_on_the_event_loop_only_if_there_is_little_to_do(
    source: str, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(source) <= documents.INLINE_LENGTH
    subject, where = planner(), []
    validate = subject._reader.validate

    def noted(document: documents.Document) -> documents.Document:
        where.append(threading.current_thread() is threading.main_thread())
        return validate(document)

    monkeypatch.setattr(subject._reader, "validate", noted)
    with contextlib.suppress(DocumentInvalid):  # valid or not, what counts is where it is looked at
        await subject.document(source, "me")
    assert where == [here]


EACH, ALL = turns.SHARE // turns.LEAST, turns.ROOM // turns.LEAST


async def test_new_documents_beyond_the_share_of_their_caller_are_refused_and_those_of_others_are_not() -> None:
    subject = planner()
    flood = [subject.document(long_document(number), "greedy") for number in range(ALL * 2)]
    others = [subject.document(long_document(ALL * 3 + number), f"friend {number}") for number in range(ALL - EACH)]
    found = await asyncio.gather(*flood, *others, return_exceptions=True)
    assert [type(one) for one in found[:EACH]] == [documents.Document] * EACH
    assert [type(one) for one in found[EACH : len(flood)]] == [TooManyNewDocuments] * (len(flood) - EACH)
    assert [type(one) for one in found[len(flood) :]] == [documents.Document] * len(others)
    assert isinstance(await subject.document(long_document(ALL * 5), "greedy"), documents.Document)


async def test_new_documents_of_all_callers_that_wait_are_bounded_too() -> None:
    subject = planner()
    asked = [subject.document(long_document(number), str(number)) for number in range(ALL + 5)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in found if isinstance(one, Exception)] == [PlannerBusy] * 5


async def test_a_long_document_takes_more_of_its_callers_share() -> None:
    subject = planner()
    long = [f"query Q{number} {{ {' ' * (turns.SHARE // 2 - 100)} __typename }}" for number in range(3)]
    found = await asyncio.gather(*(subject.document(one, "me") for one in long), return_exceptions=True)
    assert [type(one) for one in found] == [documents.Document, documents.Document, TooManyNewDocuments]
    assert isinstance(await subject.document(f"{{ {' ' * turns.ROOM} __typename }}", "me"), documents.Document)


async def test_callers_take_turns_however_many_documents_one_of_them_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, order = planner(), []
    read = subject._reader.read

    def noted(source: str) -> documents.Document:
        order.append(int(source[7 : source.index(" {")]))
        return read(source)

    monkeypatch.setattr(subject._reader, "read", noted)
    brought = [(number, "greedy") for number in range(EACH)] + [(100, "friend"), (200, "other"), (101, "friend")]
    await asyncio.gather(*(subject.document(long_document(number), caller) for number, caller in brought))
    assert order[:6] == [0, 1, 100, 200, 2, 101]
    assert sorted(order) == sorted(number for number, _ in brought)


def test_the_caller_is_who_has_the_credential_or_where_the_request_came_from() -> None:
    def caller(peer: str | None, principal: Principal = ANONYMOUS) -> str:
        call = Call(None, protocol="graphql", method="", peer=peer, arrival=0, request_id="", principal=principal)
        return turns.caller_of(call)

    ana = Principal(subject="ana", tenant="a")
    assert caller("10.0.0.1", ana) == caller("10.0.0.2", ana) != caller("10.0.0.1", Principal(subject="ana"))
    assert caller("10.0.0.1") != caller("10.0.0.2")
    assert caller("2001:db8:0:1::1") == caller("2001:db8:0:1:ffff::2") != caller("2001:db8:0:2::1")
    assert caller(None) == caller("")


async def test_a_flood_of_new_documents_gets_429_and_another_caller_gets_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, may_go_on = documents.Reader.read, threading.Event()

    def held(reader: documents.Reader, source: str) -> documents.Document:
        assert may_go_on.wait(60)
        return read(reader, source)

    monkeypatch.setattr(documents.Reader, "read", held)
    async with Client(App("torture", modules=[torture])) as client:
        await client.post("/graphql", json={"query": "{ __typename }"})

        answers: list[tuple[int, bytes]] = []
        answered = asyncio.Semaphore(0)

        async def ask(who: str, number: int) -> tuple[int, bytes]:
            body = {"query": long_document(number)}
            answer = await client.as_(Principal(subject=who)).post("/graphql", json=body)
            answers.append((answer.status, answer.body))
            answered.release()
            return answers[-1]

        flood = [asyncio.ensure_future(ask("greedy", number)) for number in range(ALL)]
        for _ in range(ALL - EACH):  # the others wait
            await answered.acquire()
        refused = [*answers]
        friend = asyncio.ensure_future(ask("friend", ALL))
        await asyncio.sleep(0)
        may_go_on.set()
        assert await friend == (200, b'{"data":{"__typename":"Query"}}')
        assert [status for status, _ in refused] == [429] * (ALL - EACH)
        assert all(b'"reason":"TOO_MANY_NEW_DOCUMENTS"' in content for _, content in refused)
        assert sorted(status for status, _ in await asyncio.gather(*flood)) == [200] * EACH + [429] * (ALL - EACH)


async def test_refusals_are_kept_as_well() -> None:
    subject = planner()
    many = " ".join(f"query Q{n} {{ __typename }}" for n in range(30))
    for source, refusal in (("{ nope }", DocumentInvalid), ("{ a } }", DocumentInvalid), (many, DocumentRefused)):
        for _ in range(2):
            with pytest.raises(refusal):
                await subject.document(source, "me")
    assert subject.kept[0] == 3


async def test_a_condition_that_says_nothing_is_refused() -> None:
    subject = planner()
    operation = (await subject.document("query ($a: Boolean = true) { __typename @skip(if: $a) }", "me")).operation(
        None
    )
    with pytest.raises(DocumentInvalid) as refused:
        await subject.plan(operation, subject.variables(operation, {"a": None}), "me")
    assert isinstance(refused.value.problems[0], GraphQLError)


def test_building_an_app_imports_no_graphql_core() -> None:
    code = (
        "import sys\n"
        "from tests.graphql.torture import torture\n"
        "from trivet.app import App\n"
        "App('torture', modules=[torture]).build()\n"
        "assert 'graphql' not in sys.modules, 'imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


async def test_requests_leave_nothing_for_the_collector() -> None:
    async with Client(App("torture", modules=[torture])) as client:
        source = "{ tree(size: 4, wrong: false) { name twin { name } } countTrees }"
        for _ in range(5):
            assert (await client.post("/graphql", json={"query": source})).status == 200
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await client.post("/graphql", json={"query": source})
            left = gc.collect()
        finally:
            gc.enable()
    assert left < 50  # less than one object a request: what other tasks did meanwhile


def test_an_app_still_builds() -> None:
    assert App("torture", modules=[torture]).build().front is not None
