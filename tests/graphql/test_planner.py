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
from trivet.contracts.graphql.read import graph_of
from trivet.contracts.graphql.schema import schema_of
from trivet.contracts.model import describe
from trivet.settings import GraphqlSettings
from trivet.testing import Client
from trivet.transports.graphql import document as documents
from trivet.transports.graphql.bounded import Bounded
from trivet.transports.graphql.compile import Compiler
from trivet.transports.graphql.document import Planner
from trivet.transports.graphql.refusals import DocumentInvalid, DocumentRefused, PlannerBusy

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
    document = await subject.document(source)
    assert await subject.document(source) is document
    operation = document.operation(None)
    plans = [await subject.plan(operation, subject.variables(operation, {"a": a})) for a in (True, False, True)]
    assert plans[0] is plans[2]
    assert [key for key, _ in plans[0].members] == ["tree"]
    assert [key for key, _ in plans[1].members] == ["__typename", "tree"]
    assert [len(plan.steps[0].unit.edges) for plan in plans] == [1, 0, 1]


async def test_what_is_kept_is_bounded_under_a_flood_of_documents() -> None:
    subject = planner(GraphqlSettings(plans=50, plans_size=1_000_000))
    first = weakref.ref(await subject.document("{ __typename }"))
    for number in range(500):
        operation = (await subject.document(f"{{ tree(size: {number}) {{ name }} }}")).operation(None)
        await subject.plan(operation, subject.variables(operation, {}))
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
    found = await asyncio.gather(*(subject.document(long_document()) for _ in range(20)))
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
        await subject.document(source)
    assert where == [here]


async def test_too_many_new_documents_at_once_are_refused() -> None:
    subject = planner()
    asked = [subject.document(long_document(number)) for number in range(documents.MAX_WAITING + 5)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in found if isinstance(one, Exception)] == [PlannerBusy] * 5


async def test_refusals_are_kept_as_well() -> None:
    subject = planner()
    many = " ".join(f"query Q{n} {{ __typename }}" for n in range(30))
    for source, refusal in (("{ nope }", DocumentInvalid), ("{ a } }", DocumentInvalid), (many, DocumentRefused)):
        for _ in range(2):
            with pytest.raises(refusal):
                await subject.document(source)
    assert subject.kept[0] == 3


async def test_a_condition_that_says_nothing_is_refused() -> None:
    subject = planner()
    operation = (await subject.document("query ($a: Boolean = true) { __typename @skip(if: $a) }")).operation(None)
    with pytest.raises(DocumentInvalid) as refused:
        await subject.plan(operation, subject.variables(operation, {"a": None}))
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
