"""All protocols agree on the shop and on a field of every kind, and where one does not it is found."""

from __future__ import annotations

from itertools import count

import pytest

from shop.app import app as shop
from tests.rpc.belt import app as belt
from tests.rpc.everything import app as everything
from trivet import App, Module, Read
from trivet.testing import Disagreement, assert_protocols_agree, settings_for_tests


async def test_the_protocols_of_the_shop_agree() -> None:
    agreement = await assert_protocols_agree(shop)
    assert agreement.protocols == ("REST", "GraphQL", "Connect, JSON", "Connect, binary", "gRPC", "gRPC-Web")
    assert agreement.left_out == {}
    for code in (
        "OK", "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "DEADLINE_EXCEEDED",
        "ALREADY_EXISTS", "FAILED_PRECONDITION", "CANCELLED",
    ):  # fmt: skip
        assert agreement.outcomes.get(code, 0) > 0, (code, agreement)
    assert agreement.questions > 180


async def test_the_protocols_agree_on_a_field_of_every_kind() -> None:
    agreement = await assert_protocols_agree(everything)
    assert agreement.outcomes["OK"] > 0


async def test_the_protocols_agree_on_streams_that_come_in() -> None:
    agreement = await assert_protocols_agree(belt)
    assert agreement.left_out == {}
    for code in ("OK", "INVALID_ARGUMENT", "UNAUTHENTICATED", "CANCELLED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"):
        assert agreement.outcomes.get(code, 0) > 0, (code, agreement)


async def test_a_disagreement_says_who_said_what() -> None:
    module, numbers = Module("things"), count(1)

    @module.query(public=True)
    async def get_number(ctx: Read) -> int:
        """Return another number each time."""
        return next(numbers)

    app = App("test", modules=[module], settings=settings_for_tests())
    with pytest.raises(Disagreement) as found:
        await assert_protocols_agree(app)
    assert "things.get_number, as it works" in str(found.value)
    assert "gRPC-Web: Outcome(code=None" in str(found.value)
