"""What handlers return is written from its attributes, to the same bytes as from its plain value."""

from __future__ import annotations

import enum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from tests.rpc.everything import Everything, everything, message
from trivet import Meta, Module, Page, PageRequest, Read, Struct
from trivet.contracts.describe import describe
from trivet.contracts.proto.message import Message
from trivet.contracts.proto.package import contract_of
from trivet.core.fault import NOWHERE
from trivet.transports.rpc.plain import plain
from trivet.transports.rpc.wire import Wire


class Word(enum.StrEnum):
    """A word."""

    YES = "yes"


class Renamed(Struct, rename="kebab"):
    """Members with other names outside."""

    first_name: str
    last_name: str | None = None


class Sparse(Struct, omit_defaults=True):
    """Members that are left out where they say nothing."""

    text: str = "a"
    number: int = 3


class Unset(Struct):
    """A member that may not be there at all."""

    text: str | msgspec.UnsetType = msgspec.UNSET


class Mixed(Struct):
    """Some of all."""

    id: UUID
    texts: list[Annotated[str, Meta(max_length=9)]]
    number: Annotated[int, Meta(ge=0)] | None
    ratio: float
    renamed: Renamed
    sparse: list[Sparse]
    unset: Unset
    nested: list[list[str]]


module = Module("mixed")


@module.query(public=True)
async def mix(ctx: Read) -> Mixed:
    """Return some of all."""
    raise NotImplementedError


@module.query(public=True)
async def list_mixed(ctx: Read, page: PageRequest) -> Page[Mixed]:
    """Return a page."""
    raise NotImplementedError


@module.query(public=True)
async def texts(ctx: Read) -> list[str] | None:
    """Return texts, or nothing."""
    raise NotImplementedError


@module.query(public=True)
async def ids(ctx: Read) -> list[UUID]:
    """Return ids."""
    raise NotImplementedError


def answer(method: str) -> Message:
    """Return the message of what a method returns."""
    api, faults = describe("test", [module])
    contract, unfit = contract_of(api, NOWHERE)
    assert not faults + unfit
    found: Message = next(m for m in contract.packages[0].methods if m.name == method).output
    return found


WIRE = Wire()
ID = UUID(int=7)
MIXED = Mixed(
    id=ID,
    texts=["a", "\u00e9" * 9],
    number=None,
    ratio=0.5,
    renamed=Renamed(first_name="Ada"),
    sparse=[Sparse(), Sparse(number=4)],
    unset=Unset(),
    nested=[["a"], []],
)


def said(instead: Any, field: str) -> Any:
    """Return `MIXED` with something in a field that its annotation does not say."""
    return msgspec.structs.replace(MIXED, **{field: instead})


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(everything)
def test_every_kind_of_field_is_written_as_from_its_plain_value(value: Everything) -> None:
    for name in ("Everything", "EchoResponse"):
        assert WIRE.result_encoder(message(name))(value) == WIRE.encoder(message(name))(plain(value))


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("Mix", MIXED),
        ("Mix", said(7, "number")),
        ("Mix", said(Unset(text="a"), "unset")),
        ("ListMixed", Page[Mixed](items=[MIXED, MIXED])),
        ("ListMixed", Page[Mixed](items=[], next_page_token="more")),
        ("Texts", ["a", "b"]),
        ("Texts", []),
        ("Texts", None),
        ("Ids", [ID, ID]),
    ],
)
def test_names_and_members_that_are_left_out_are_those_of_the_plain_value(method: str, value: Any) -> None:
    assert WIRE.result_encoder(answer(method))(value) == WIRE.encoder(answer(method))(plain(value))


@pytest.mark.parametrize(
    "value",
    [
        plain(MIXED),
        said({"first-name": "Ada"}, "renamed"),
        said(str(ID), "id"),
        said([Word.YES, Word.YES], "texts"),
        said((ID, "a"), "texts"),
        said(Word.YES, "id"),
        said(True, "number"),
        said(1, "ratio"),
    ],
)
def test_what_its_annotation_does_not_say_is_written_as_msgspec_would(value: Any) -> None:
    assert WIRE.result_encoder(answer("Mix"))(value) == WIRE.encoder(answer("Mix"))(plain(value))


def test_what_has_no_plain_value_of_the_type_can_not_be_written() -> None:
    with pytest.raises((AttributeError, TypeError)):
        WIRE.result_encoder(answer("Mix"))(said(["a", 5], "texts"))
