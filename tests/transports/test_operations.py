"""What a client sees of operations over REST: every kind of face, its status, its headers, its result."""

from __future__ import annotations

import pytest

from tests.transports.client import Client
from tests.transports.library import AUSTEN, POE, Library, book_id, front
from trivet.core.principal import ANONYMOUS, Principal
from trivet.settings import LimitSettings, Settings

ONE = f"/v1/books/{book_id(1)}"
AS_JSON = {"content-type": "application/json"}
NEW = {"title": "Emma", "author_id": str(AUSTEN), "price": {"amount": "1.50", "currency": "EUR"}}


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def client(library: Library) -> Client:
    return Client(front(library))


async def test_a_get_answers_the_item_as_json(client: Client) -> None:
    response = await client.get(ONE)
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json == {
        "id": str(book_id(1)),
        "title": "Volume 1",
        "author_id": str(AUSTEN),
        "genre": "NOVEL",
        "price": {"amount": "9.50", "currency": "EUR"},
        "tags": ["old"],
        "chapters": [{"title": "One", "author_id": str(AUSTEN)}, {"title": "Two", "author_id": str(POE)}],
        "create_time": "2026-01-31T12:00:00Z",
    }


async def test_head_answers_what_get_does_without_the_body(client: Client) -> None:
    got, head = await client.get(ONE), await client.request("HEAD", ONE)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    missing = await client.request("HEAD", f"/v1/books/{book_id(404)}")
    assert (missing.status, missing.body) == (404, b"")


async def test_options_say_what_is_allowed(client: Client) -> None:
    response = await client.request("OPTIONS", ONE)
    assert (response.status, response.headers["allow"]) == (204, "DELETE, GET, HEAD, PATCH, OPTIONS")


async def test_a_wrong_method_says_what_is_allowed(client: Client) -> None:
    response = await client.request("PUT", "/v1/books")
    assert (response.status, response.headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")


async def test_a_batch_get_answers_items_in_the_order_asked_for(client: Client) -> None:
    response = await client.get(f"/v1/books:batchGet?ids={book_id(2)}&ids={book_id(99)}&ids={book_id(1)}")
    assert [item and item["title"] for item in response.json["items"]] == ["Volume 2", None, "Volume 1"]


async def test_a_list_takes_a_page_and_typed_filters(client: Client, library: Library) -> None:
    query = (
        f"page_size=2&author_id={AUSTEN}&genre=POEMS&tags=a+b&tags=c%26d&price_max=12.50&lent=false&year=1816"
        "&since=2026-01-31T13:00:00%2B01:00"
    )
    response = await client.get(f"/v1/books?{query}")
    assert (response.status, response.json["next_page_token"]) == (200, "more")
    (seen,) = library.journal.calls
    assert seen["page"].page_size == 2
    assert (str(seen["price_max"]), seen["lent"], seen["year"]) == ("12.50", False, 1816)
    assert seen["tags"] == ("a b", "c&d")
    assert seen["since"].isoformat() == "2026-01-31T12:00:00+00:00"


async def test_the_last_page_has_no_token_and_a_list_needs_no_query(client: Client) -> None:
    assert set((await client.get("/v1/books")).json) == {"items"}


async def test_what_there_is_not_is_no_content(client: Client) -> None:
    assert (await client.get("/v1/books:find?title=Volume%201")).json["id"] == str(book_id(1))
    response = await client.get("/v1/books:find?title=none")
    assert (response.status, response.body) == (204, b"")
    assert "content-type" not in response.headers


async def test_a_bare_value_is_wrapped_so_that_the_answer_can_grow(client: Client) -> None:
    assert (await client.get("/v1/count_books".replace("_", "-"))).status == 404
    assert (await client.get("/v1/books:count")).json == {"value": 5}


async def test_a_create_says_where_the_new_one_is(client: Client) -> None:
    response = await client.post("/v1/books", NEW)
    assert (response.status, response.headers["location"]) == (201, f"/v1/books/{book_id(77)}")
    assert response.json["price"] == {"amount": "1.50", "currency": "EUR"}


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json; charset=UTF-8"])
async def test_an_update_takes_a_merge_patch(client: Client, media_type: str) -> None:
    response = await client.request("PATCH", ONE, b'{"price":{"amount":3},"tags":null}', {"content-type": media_type})
    assert response.status == 200
    assert (response.json["price"], response.json["tags"]) == ({"amount": "3", "currency": "EUR"}, [])


async def test_a_delete_answers_nothing(client: Client) -> None:
    response = await client.request("DELETE", ONE)
    assert (response.status, response.body) == (204, b"")
    assert "content-length" not in response.headers


async def test_a_custom_method_takes_its_parameters_as_an_object_with_defaults(
    client: Client, library: Library
) -> None:
    assert (await client.post(f"{ONE}:lend", {"reader": "me"})).status == 200
    assert (await client.post(f"{ONE}:lend", {"reader": "you", "days": 3})).status == 200
    assert library.journal.calls == [("me", 14), ("you", 3)]


async def test_an_integer_may_be_written_with_a_zero_fraction(client: Client, library: Library) -> None:
    for number in ("3.0", "30e-1", "3"):
        response = await client.request("POST", f"{ONE}:lend", f'{{"reader":"me","days":{number}}}'.encode(), AS_JSON)
        assert response.status == 200
    assert library.journal.calls == [("me", 3)] * 3
    for number in ("3.5", "0.0", "1e400", "1e999999999"):
        response = await client.request("POST", f"{ONE}:lend", f'{{"reader":"me","days":{number}}}'.encode(), AS_JSON)
        assert (response.status, response.reason) == (400, "INVALID_ARGUMENT")


async def test_a_query_that_fits_no_url_is_a_post_with_its_page_beside_it(client: Client) -> None:
    response = await client.post("/v1/books:search", {"like": NEW, "page_size": 1})
    assert (response.status, len(response.json["items"])) == (200, 1)


async def test_a_method_without_parameters_reads_an_empty_object_or_nothing(client: Client) -> None:
    for body in (b"", b"{}"):
        response = await client.request("POST", f"{ONE}:dust", body, AS_JSON)
        assert response.reason == "ARCHIVE_CLOSED"
    response = await client.post(f"{ONE}:dust", {"more": 1})
    assert (response.status, response.pointers) == (400, ["#/more"])


async def test_a_body_may_come_in_pieces(client: Client) -> None:
    response = await client.request(
        "POST", f"{ONE}:lend", [b'{"rea', b'der":', b'"me"}'], {"content-type": "application/json"}
    )
    assert response.status == 200


async def test_a_body_in_pieces_is_refused_as_soon_as_it_is_too_large(library: Library) -> None:
    client = Client(front(library, settings=Settings(limits=LimitSettings(body=10))))
    response = await client.request(
        "POST", f"{ONE}:lend", [b"12345678", b"90ab", b""], {"content-type": "application/json"}
    )
    assert (response.status, response.json["limit"]) == (413, 10)


async def test_everything_wrong_with_path_query_and_body_is_said_at_once(client: Client) -> None:
    response = await client.request(
        "PATCH", "/v1/books/one?dry=1", b'{"title":"","price":{"amount":"x"}}', {"content-type": "application/json"}
    )
    assert response.status == 400
    assert sorted(response.pointers) == ["#/dry", "#/id", "#/price/amount", "#/title"]


async def test_domain_errors_have_their_status_reason_and_fields(client: Client) -> None:
    taken = await client.post("/v1/books", NEW | {"title": "taken"})
    assert (taken.status, taken.json["code"], taken.reason, taken.json["taken"]) == (
        409,
        "already_exists",
        "TITLE_TAKEN",
        "taken",
    )
    lent = await client.post(f"{ONE}:lend", {"reader": "second"})
    assert (lent.status, lent.reason, lent.json["until"]) == (400, "BOOK_LENT", "2026-02-28")
    missing = await client.get(f"/v1/books/{book_id(404)}")
    assert (missing.status, missing.json["title"]) == (404, "There is no such thing.")
    assert missing.json["detail"] == f"There is no book {book_id(404)}."


async def test_retry_after_is_rounded_up(client: Client) -> None:
    assert (await client.post("/v1/books", NEW | {"title": "enough"})).headers["retry-after"] == "2"
    assert (await client.post(f"{ONE}:dust", {})).headers["retry-after"] == "7"


async def test_an_internal_error_says_nothing_but_the_request_id(client: Client) -> None:
    response = await client.post(f"{ONE}:burn", {})
    assert response.status == 500
    assert b"sesame" not in response.body
    assert set(response.json) == {"type", "title", "status", "instance", "code", "reason"}


async def test_without_credentials_nothing_of_the_request_is_read(library: Library) -> None:
    client = Client(front(library, ANONYMOUS))
    response = await client.request("PATCH", "/v1/books/one", b"nonsense", {"content-type": "text/plain"})
    assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
    client = Client(front(library, Principal(subject="reader")))
    response = await client.request("DELETE", ONE)
    assert (response.status, response.reason, response.json["scopes"]) == (403, "SCOPE_REQUIRED", ["books.write"])


async def test_a_deprecated_operation_says_so(client: Client) -> None:
    response = await client.post(f"{ONE}:dust", {})
    assert response.headers["deprecation"] == "@1767225600"
    assert 'rel="deprecation"' in response.headers["link"]


@pytest.mark.parametrize("given", ["abc-1.2_Z", "x" * 64])
async def test_a_fitting_request_id_is_kept(client: Client, given: str) -> None:
    assert (await client.get(ONE, {"Request-Id": given})).headers["request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "é", "<script>"])
async def test_another_request_id_is_replaced(client: Client, given: str) -> None:
    first, second = [(await client.get(ONE, {"Request-Id": given})).headers["request-id"] for _ in range(2)]
    assert given not in (first, second)
    assert first != second


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/json",
        "text/html, application/json;q=0.1",
        "",
        "application/json;v=1",
        "*/*;q=x",
    ],
)
async def test_these_accept_json(client: Client, accept: str) -> None:
    assert (await client.get(ONE, {"Accept": accept})).status == 200


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "application/*;q=0, */*", "application/hal+json"]
)
async def test_these_do_not(client: Client, accept: str) -> None:
    response = await client.get(ONE, {"Accept": accept})
    assert (response.status, response.json["available"]) == (406, ["application/json"])
