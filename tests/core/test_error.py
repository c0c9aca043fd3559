"""Errors are classes with typed fields, a stable reason and a safe message."""

from __future__ import annotations

import pickle

import pytest

from trivet import AlreadyExists, Code, Error, InvalidArgument, NotFound, Violation
from trivet.core.error import upper_snake


class SkuTaken(AlreadyExists):
    """A product with this SKU exists already.

    More for the reader of the code.
    """

    sku: str
    tries: int = 1


class HTTPGatewayDown(Error):
    pass


class Renamed(NotFound, reason="OLD_NAME", status=410):
    """It is gone."""


def test_fields_are_typed_and_shown() -> None:
    taken = SkuTaken(sku="a")
    assert (taken.sku, taken.tries) == ("a", 1)
    assert taken.metadata() == {"sku": "a", "tries": 1}
    assert (taken.code, taken.reason, str(taken)) == (
        Code.ALREADY_EXISTS,
        "SKU_TAKEN",
        "A product with this SKU exists already.",
    )


def test_a_detail_replaces_the_message_and_is_no_metadata() -> None:
    taken = SkuTaken(sku="a", detail="SKU a is taken.")
    assert str(taken) == "SKU a is taken."
    assert "detail" not in taken.metadata()


def test_a_missing_field_is_refused_when_raised() -> None:
    with pytest.raises(TypeError, match="sku"):
        SkuTaken()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # that is the point


def test_an_error_survives_pickling_with_its_fields() -> None:
    taken = SkuTaken(sku="a", detail="x")
    assert pickle.loads(pickle.dumps(taken)) == taken


def test_reason_and_status_can_be_kept_when_a_class_is_renamed() -> None:
    assert (Renamed().reason, Renamed().status) == ("OLD_NAME", 410)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("SkuTaken", "SKU_TAKEN"), ("HTTPGatewayDown", "HTTP_GATEWAY_DOWN"), ("X", "X"), ("Over2000", "OVER2000")],
)
def test_the_reason_is_the_name_in_upper_snake(name: str, reason: str) -> None:
    assert upper_snake(name) == reason


def test_violations_are_no_metadata() -> None:
    assert InvalidArgument(violations=(Violation(detail="x"),)).metadata() == {}


def test_an_error_without_a_docstring_still_has_a_message() -> None:
    assert HTTPGatewayDown().message
