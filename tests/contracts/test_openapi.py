"""The OpenAPI document: valid, complete, the same every time, and true about what comes in and goes out."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from openapi_spec_validator import validate

from tests.transports.library import Library
from trivet import About, Limit, Meta, Module, Money, NotFound, Patch, Read, Struct, Write
from trivet.contracts.describe import describe
from trivet.contracts.openapi import document
from trivet.contracts.schema import Schemas, component_name
from trivet.core.page import Page

Key = NewType("Key", UUID)


class Colour(enum.Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Cat(Struct, tag="cat"):
    """Meows."""

    lives: Annotated[int, Meta(ge=0, le=9)] = 9


class Dog(Struct, tag="dog"):
    """Barks."""

    loud: bool


class Everything(Struct):
    """One of each."""

    text: Annotated[str, Meta(min_length=1, max_length=9, pattern="^a", title="Text", examples=["abc"])]
    whole: int
    small: Annotated[int, Meta(gt=0, lt=10)]
    real: float
    yes: bool
    exact: Money
    loose: Decimal
    key: Key
    at: datetime
    day: date
    long: timedelta
    raw: bytes
    colour: Colour
    choice: Literal["x", "y"]
    pet: Cat | Dog
    maybe: str | None = None
    many: Annotated[tuple[Key, ...], Meta(max_length=3)] = ()
    table: Annotated[dict[str, int], Meta(max_length=2)] = {}
    again: Everything | None = None


def schema(annotation: Any, view: Any) -> tuple[Any, dict[str, Any]]:
    schemas = Schemas()
    return schemas.resolve(schemas.of(annotation, view))


@pytest.fixture(scope="module")
def library() -> dict[str, Any]:
    api, faults = describe("library", Library().modules)
    assert faults == []
    return document(api)


def test_the_document_is_valid(library: dict[str, Any]) -> None:
    validate(library)


def test_every_type_is_described_as_input() -> None:
    reference, components = schema(Everything, "input")
    assert reference == {"$ref": "#/components/schemas/Everything"}
    everything = components["Everything"]
    assert everything["additionalProperties"] is False
    assert "maybe" not in everything["required"]
    fields = everything["properties"]
    assert fields["text"] == {
        "type": "string",
        "minLength": 1,
        "maxLength": 9,
        "pattern": "^a",
        "title": "Text",
        "examples": ["abc"],
    }
    assert fields["whole"] == {"type": "integer", "minimum": -(2**53) + 1, "maximum": 2**53 - 1, "format": "int64"}
    assert fields["small"] == {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10, "format": "int32"}
    assert fields["real"] == {"type": "number", "format": "double"}
    assert fields["key"] == {"type": "string", "format": "uuid", "maxLength": 36}
    assert fields["at"] == {"type": "string", "format": "date-time", "maxLength": 64}
    assert fields["day"] == {"type": "string", "format": "date", "maxLength": 10}
    assert fields["long"] == {"type": "string", "format": "duration", "maxLength": 64}
    assert fields["raw"] == {"type": "string", "contentEncoding": "base64"}
    assert fields["choice"] == {"type": "string", "enum": ["x", "y"]}
    assert fields["maybe"] == {"type": ["string", "null"]}
    assert fields["many"] == {"type": "array", "items": fields["key"], "maxItems": 3, "default": []}
    assert fields["table"]["maxProperties"] == 2
    assert fields["again"] == {"anyOf": [reference, {"type": "null"}]}
    assert fields["pet"]["discriminator"]["mapping"] == {
        "cat": "#/components/schemas/Cat",
        "dog": "#/components/schemas/Dog",
    }
    assert components["Cat"]["required"] == ["type"]
    assert components["Colour"] == {"type": "string", "description": "A colour.", "enum": ["red", "blue"]}
    text, number = components["Money"]["properties"]["amount"]["anyOf"]
    assert text["type"] == "string"
    assert text["maxLength"] == len("-12345678901234.5678")
    assert number == {
        "type": "number",
        "format": "decimal",
        "exclusiveMinimum": -(10**14),
        "exclusiveMaximum": 10**14,
        "multipleOf": 0.0001,
    }


def test_outputs_have_all_members_and_write_decimals_as_text() -> None:
    _, components = schema(Everything, "output")
    everything = components["Everything"]
    assert "additionalProperties" not in everything
    assert set(everything["required"]) == set(everything["properties"])
    assert components["Money"]["properties"]["amount"]["type"] == "string"


def test_a_page_leaves_its_token_out_on_the_last_one() -> None:
    reference, components = schema(Page[Cat], "output")
    assert reference == {"$ref": "#/components/schemas/CatPage"}
    assert components["CatPage"]["required"] == ["items"]


def test_a_patch_makes_everything_optional_and_null_where_there_is_a_default() -> None:
    class Changeable(Struct):
        name: str
        stock: int = 0
        price: Annotated[Money, Meta(description="Not below zero")]
        note: str | None

    _, components = schema(Patch[Changeable], "input")
    patch = components["ChangeablePatch"]
    assert "required" not in patch
    assert patch["properties"]["name"] == {"type": "string"}
    assert {"type": "null"} in patch["properties"]["stock"]["anyOf"]
    assert patch["properties"]["price"] == {
        "$ref": "#/components/schemas/MoneyPatch",
        "description": "Not below zero",
    }
    assert patch["properties"]["note"] == {"type": ["string", "null"]}


def test_both_views_of_a_shape_and_shapes_of_one_name_are_told_apart() -> None:
    first = type("Item", (Struct,), {"__annotations__": {"a": "int"}, "__module__": "shop.catalog.model"})
    second = type("Item", (Struct,), {"__annotations__": {"b": "int"}, "__module__": "shop.orders.model"})
    schemas = Schemas()
    document = [schemas.of(first, "input"), schemas.of(first, "output"), schemas.of(second, "output")]
    references, components = schemas.resolve(document)
    assert [reference["$ref"].rpartition("/")[2] for reference in references] == [
        "CatalogItemInput",
        "CatalogItem",
        "OrdersItem",
    ]
    assert sorted(components) == ["CatalogItem", "CatalogItemInput", "OrdersItem"]


@pytest.mark.parametrize(("shape", "name"), [(Cat, "Cat"), (Page[Cat], "CatPage"), (Page[Key], "KeyPage")])
def test_component_names_are_clean(shape: Any, name: str) -> None:
    assert component_name(shape) == name


def test_an_operation_is_described_completely(library: dict[str, Any]) -> None:
    create = library["paths"]["/v1/books"]["post"]
    assert create["operationId"] == "books.create_book"
    assert create["tags"] == ["books"]
    assert create["security"] == [{"bearer": ["books.write"]}]
    assert create["requestBody"]["content"]["application/json"]["examples"]["example 1"]["value"]["title"] == "Emma"
    created = create["responses"]["201"]
    assert created["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Book"}
    assert {"Location", "Request-Id"} <= set(created["headers"])
    assert set(create["responses"]) == {
        *("201", "400", "401", "403", "406", "409", "413", "414", "415", "429", "431", "500", "503", "504", "default"),
    }
    conflict = create["responses"]["409"]["content"]["application/problem+json"]
    assert conflict["schema"] == {"$ref": "#/components/schemas/TitleTakenProblem"}
    assert conflict["examples"] == {"TITLE_TAKEN": {"$ref": "#/components/examples/TITLE_TAKEN"}}
    shown = library["components"]["examples"]["TITLE_TAKEN"]["value"]
    assert (shown["type"], shown["taken"]) == ("/problems/title-taken", "Persuasion")
    assert "Retry-After" in create["responses"]["429"]["headers"]
    assert create["responses"]["401"] == {"$ref": "#/components/responses/Unauthenticated"}
    unauthenticated = library["components"]["responses"]["Unauthenticated"]
    assert "WWW-Authenticate" in unauthenticated["headers"]
    assert unauthenticated["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
    problem = library["components"]["schemas"]["TitleTakenProblem"]
    assert problem["properties"]["taken"]["maxLength"] == 40
    assert problem["required"] == ["reason", "taken"]


def test_parameters_say_what_they_take(library: dict[str, Any]) -> None:
    listed = {p["name"]: p for p in library["paths"]["/v1/books"]["get"]["parameters"]}
    assert listed["page_size"]["schema"]["minimum"] == 0
    assert listed["tags"]["explode"] is True
    assert listed["tags"]["schema"]["maxItems"] == 3
    assert listed["year"]["schema"] == {"type": "integer", "minimum": 1400, "maximum": 2100, "format": "int32"}
    assert listed["genre"]["schema"] == {"$ref": "#/components/schemas/Genre"}
    assert listed["price_max"]["schema"]["type"] == "string"
    assert "author" in listed["expand"]["schema"]["items"]["enum"]
    (batch,) = [p for p in library["paths"]["/v1/books:batchGet"]["get"]["parameters"] if p["name"] == "ids"]
    assert batch["required"] is True


def test_special_results_are_described(library: dict[str, Any]) -> None:
    paths = library["paths"]
    assert set(paths["/v1/books:find"]["get"]["responses"]) >= {"200", "204"}
    assert paths["/v1/books/{id}"]["patch"]["requestBody"]["content"].keys() == {
        "application/merge-patch+json",
        "application/json",
    }
    assert "text/event-stream" in paths["/v1/books:watch"]["get"]["responses"]["200"]["content"]
    assert "Location" in paths["/v1/books:export"]["post"]["responses"]["202"]["headers"]
    assert paths["/v1/books:count"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["required"] == [
        "value"
    ]
    assert paths["/v1/jobs/{id}"]["get"]["operationId"] == "jobs.get_job"
    cancel = paths["/v1/jobs/{id}:cancel"]["post"]
    assert cancel["security"] == [{}, {"bearer": []}]
    assert {"200", "404", "409"} < cancel["responses"].keys()


def test_a_stream_says_how_to_come_back_and_what_is_no_place_to_come_back_to(library: dict[str, Any]) -> None:
    watch = library["paths"]["/v1/books:watch"]["get"]
    (header,) = [parameter for parameter in watch["parameters"] if parameter["in"] == "header"]
    assert (header["name"], "required" in header) == ("Last-Event-ID", False)
    shared = watch["responses"]["400"]["$ref"].rpartition("/")[2]
    examples = library["components"]["responses"][shared]["content"]["application/problem+json"]["examples"]
    assert {"POSITION_UNKNOWN", "POSITION_EXPIRED"} <= set(examples)
    others = [op for path in library["paths"].values() for op in path.values() if op is not watch]
    assert not any(parameter["name"] == "Last-Event-ID" for op in others for parameter in op.get("parameters", ()))


def test_a_deprecated_operation_says_so_and_so_does_each_of_its_answers(library: dict[str, Any]) -> None:
    operation = library["paths"]["/v1/books/{id}:dust"]["post"]
    assert operation["deprecated"] is True
    assert operation["description"].endswith("Deprecated; use books.polish_book.")
    for response in operation["responses"].values():
        assert {"Deprecation", "Sunset", "Link"} <= set(response["headers"])


def test_operation_ids_are_unique(library: dict[str, Any]) -> None:
    ids = [op["operationId"] for path in library["paths"].values() for op in path.values()]
    assert len(set(ids)) == len(ids)


def test_the_same_app_gives_the_same_bytes_in_every_process() -> None:
    program = """
import json
from tests.transports.library import Library
from trivet.contracts.describe import describe
from trivet.contracts.openapi import document

print(json.dumps(document(describe("library", Library().modules)[0])))
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed, **PATHS}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


PATHS = {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def test_credentials_are_optional_where_the_developer_needs_none() -> None:
    api, _ = describe("library", Library().modules)
    described = document(api, credentials_optional=True, server="/api")
    assert described["paths"]["/v1/books"]["post"]["security"] == [{}, {"bearer": ["books.write"]}]
    assert described["servers"] == [{"url": "/api", "description": "Production", "x-internal": True}]
    json.dumps(described)


def test_a_body_of_several_parameters_has_a_name_of_its_own() -> None:
    module = Module("things")

    @module.command(public=True)
    async def paint(ctx: Write, colour: Colour, coats: Annotated[int, Meta(ge=1)] = 2) -> None:
        """Paint it."""
        raise NotFound

    @module.query(public=True)
    async def look(ctx: Read) -> dict[str, int]:
        """Look at it."""
        raise NotFound

    described = document(describe("x", [module])[0])
    validate(described)
    body = described["components"]["schemas"]["PaintRequest"]
    assert (body["required"], body["properties"]["coats"]) == (
        ["colour"],
        {"type": "integer", "minimum": 1, "maximum": 2**53 - 1, "format": "int64", "default": 2},
    )


def test_an_app_says_what_it_is_and_who_answers_for_it() -> None:
    about = About(
        description="Books.",
        contact="Desk",
        url="https://library.example",
        email="a@b.example",
        license="MIT",
        audience="external-public",
    )
    described = document(describe("library", Library().modules, about=about)[0], environment="development")
    validate(described)
    info = described["info"]
    assert info["description"].startswith("Books.\n\n## What holds for every operation")
    assert info["contact"] == {"name": "Desk", "url": "https://library.example", "email": "a@b.example"}
    assert info["license"] == {"name": "MIT", "identifier": "MIT"}
    assert info["x-audience"] == "external-public"
    assert described["servers"] == [{"url": "/", "description": "Local development", "x-internal": False}]


def test_an_app_that_says_nothing_has_no_empty_members(library: dict[str, Any]) -> None:
    assert not {"contact", "license"} & library["info"].keys()
    assert library["info"]["x-api-id"] == document(describe("library", [])[0])["info"]["x-api-id"]
    assert library["info"]["x-api-id"] != document(describe("other", [])[0])["info"]["x-api-id"]


def test_an_operation_says_who_may_call_it(library: dict[str, Any]) -> None:
    assert library["paths"]["/v1/books"]["post"]["description"] == "Needs the scope `books.write`."
    lend = library["paths"]["/v1/books/{id}:lend"]["post"]
    assert lend["description"] == "It comes back some day.\n\nOpen to everyone."


def test_every_answer_names_its_header_fields(library: dict[str, Any]) -> None:
    assert {"Request-Id", "RateLimit", "Access-Control-Allow-Origin"} <= set(library["components"]["headers"])
    for methods in library["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                assert "$ref" in response or "Request-Id" in response["headers"]


def test_a_batch_answers_with_as_many_as_it_takes(library: dict[str, Any]) -> None:
    batch = library["paths"]["/v1/books:batchGet"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert batch["properties"]["items"]["maxItems"] == 3


def test_a_limit_of_its_own_is_a_refusal_of_its_own() -> None:
    module = Module("things")

    @module.query(public=True, limits=[Limit(quota=1)])
    async def look(ctx: Read) -> dict[str, int]:
        """Look at it."""
        raise NotFound

    described = document(describe("x", [module])[0])
    refused = described["components"]["responses"]["QuotaExceeded"]
    assert described["paths"]["/v1/look"]["get"]["responses"]["429"] == {"$ref": "#/components/responses/QuotaExceeded"}
    assert {"Retry-After", "RateLimit"} <= set(refused["headers"])


def test_an_error_whose_fields_nobody_can_guess_has_no_example() -> None:
    class Odd(NotFound):
        """Nobody knows what it looks like."""

        key: Annotated[str, Meta(pattern="^Z{7}$", max_length=7)]

    module = Module("things")

    @module.query(public=True, raises=[Odd])
    async def look(ctx: Read) -> dict[str, int]:
        """Look at it."""
        raise NotFound

    described = document(describe("x", [module])[0])
    validate(described)
    missing = described["paths"]["/v1/look"]["get"]["responses"]["404"]["content"]["application/problem+json"]
    assert "examples" not in missing


def test_beside_a_reference_stand_annotations_only() -> None:
    class Bound(Struct):
        price: Annotated[Money, Meta(description="High", extra_json_schema={"minProperties": 2})]

    _, components = schema(Bound, "input")
    assert components["Bound"]["properties"]["price"] == {
        "description": "High",
        "allOf": [{"$ref": "#/components/schemas/Money"}, {"minProperties": 2}],
    }
