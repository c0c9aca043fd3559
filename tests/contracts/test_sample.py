"""Sample values: whatever a schema demands that they can meet, they meet."""

from __future__ import annotations

from typing import Annotated, Any

import jsonschema_rs
import pytest

from tests.contracts.test_openapi import Everything
from tests.transports.library import Library
from trivet import Meta, Struct
from trivet.contracts.describe import describe
from trivet.contracts.openapi import document
from trivet.contracts.sample import NoSampleError, sample
from trivet.contracts.schema import Schemas


def fits(value: Any, schema: dict[str, Any], components: dict[str, Any]) -> None:
    whole = {**schema, "components": {"schemas": components}}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)


@pytest.mark.parametrize("view", ["input", "output"])
def test_a_sample_fits_its_schema(view: Any) -> None:
    schemas = Schemas()
    schema, components = schemas.resolve(schemas.of(Everything, view))
    value = sample(schema, lambda name: components[name.rpartition("/")[2]])
    fits(value, schema, components)
    assert value["text"] == "abc"


def test_every_component_of_an_api_has_a_sample_that_fits() -> None:
    components = document(describe("library", Library().modules)[0])["components"]["schemas"]
    for schema in components.values():
        fits(sample(schema, lambda name: components[name.rpartition("/")[2]]), schema, components)


NOTHING: dict[str, dict[str, Any]] = {}


class Loop(Struct):
    """Something that holds others of its kind."""

    inner: Loop | None
    many: Annotated[tuple[Loop, ...], Meta(max_length=3)]


def test_what_holds_its_own_kind_ends_somewhere() -> None:
    schemas = Schemas()
    schema, components = schemas.resolve(schemas.of(Loop, "output"))
    fits(sample(schema, lambda name: components[name.rpartition("/")[2]]), schema, components)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 5, "maximum": 9}, 5),
        ({"type": "integer", "exclusiveMinimum": 5, "maximum": 9}, 6),
        ({"type": "integer", "minimum": -9, "maximum": -5}, -9),
        ({"type": "string", "minLength": 40, "maxLength": 40}, "x" * 40),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}, [True, True]),
        ({"type": ["string", "null"], "maxLength": 1}, "A"),
        ({"type": "string", "examples": ["this"]}, "this"),
    ],
    ids=["minimum", "exclusive", "negative", "long", "array", "nullable", "example"],
)
def test_bounds_are_met(schema: dict[str, Any], value: Any) -> None:
    assert sample(schema, NOTHING.__getitem__) == value


def test_a_pattern_of_the_apps_own_needs_an_example_of_the_apps_own() -> None:
    with pytest.raises(NoSampleError, match="Z"):
        sample({"type": "string", "pattern": "^Z{7}$"}, NOTHING.__getitem__)
    assert sample({"type": "string", "pattern": "^Z{7}$", "examples": ["ZZZZZZZ"]}, NOTHING.__getitem__) == "ZZZZZZZ"
