"""Pages of other origins: nothing without a setting, and with one exactly what it says."""

from __future__ import annotations

import pytest

from tests.transports.client import Client
from tests.transports.library import Library, book_id, front
from trivet.core.principal import ANONYMOUS, DEVELOPER
from trivet.settings import CorsSettings, Settings, SettingsError, load

APP, OTHER = "https://app.example.com", "https://evil.example.com"
ONE = f"/v1/books/{book_id(1)}"
GRANTS = {"access-control-allow-origin", "access-control-allow-methods", "access-control-allow-credentials"}


def client(*origins: str, credentials: bool = False, headers: tuple[str, ...] = ()) -> Client:
    cors = CorsSettings(origins=origins, credentials=credentials, headers=headers)
    return Client(front(Library(), ANONYMOUS, Settings(cors=cors)))


def preflight(origin: str, method: str = "PATCH", **more: str) -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method, **more}


async def test_without_a_setting_nothing_is_granted_and_nothing_varies() -> None:
    asker = client()
    for answer in (
        await asker.get("/v1/books", {"Origin": APP}),
        await asker.request("OPTIONS", ONE, headers=preflight(APP)),
    ):
        assert not {name for name in answer.headers if name.startswith("access-control")}
        assert "origin" not in answer.headers.get("vary", "")


async def test_a_preflight_says_what_the_path_serves_and_needs_no_credentials() -> None:
    answer = await client(APP, headers=("X-Client",)).request("OPTIONS", ONE, headers=preflight(APP))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == "DELETE, GET, HEAD, PATCH, OPTIONS"
    assert {"if-match", "authorization", "content-type", "idempotency-key", "x-client"} <= {
        *answer.headers["access-control-allow-headers"].split(", ")
    }
    assert (answer.headers["access-control-max-age"], answer.headers["vary"]) == ("600", "origin")
    assert "access-control-allow-credentials" not in answer.headers
    page = await client(APP).request("OPTIONS", "/openapi.json", headers=preflight(APP, "GET"))
    assert page.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("origin", [OTHER, "null", "https://app.example.com.evil.com", "http://app.example.com", "*"])
async def test_another_origin_is_granted_nothing_and_its_answer_varies(origin: str) -> None:
    asker = client(APP)
    for answer in (
        await asker.request("OPTIONS", ONE, headers=preflight(origin)),
        await asker.get("/v1/books", {"Origin": origin}),
    ):
        assert not GRANTS & answer.headers.keys()
        assert answer.headers["vary"].endswith("origin")


async def test_an_answer_varies_by_the_origin_also_where_there_is_none() -> None:
    assert (await client(APP).get("/v1/books")).headers["vary"] == "accept-encoding, origin"
    assert (await client(APP).get("/")).headers["vary"] == "accept, accept-encoding, origin"
    assert "origin" not in (await client("*").get("/v1/books", {"Origin": APP})).headers["vary"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v1/books", 200),
        ("GET", "/nowhere", 404),
        ("PUT", ONE, 405),
        ("DELETE", ONE, 401),
        ("GET", "/livez", 200),
    ],
)
async def test_every_answer_can_be_read_by_an_allowed_origin(method: str, target: str, status: int) -> None:
    answer = await client(APP).request(method, target, headers={"Origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, APP)
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"etag", "request-id", "retry-after", "location"} <= {*exposed}


async def test_a_refusal_of_the_front_and_a_304_can_be_read_too() -> None:
    asker = client(APP)
    long = await asker.get("/v1/books?" + "x" * 9000, {"Origin": APP})
    assert (long.status, long.headers["access-control-allow-origin"]) == (414, APP)
    tag = (await asker.get(ONE)).headers["etag"]
    same = await asker.get(ONE, {"Origin": APP, "If-None-Match": tag})
    assert (same.status, same.headers["access-control-allow-origin"]) == (304, APP)


async def test_any_origin_is_a_star_and_credentials_need_names() -> None:
    assert (await client("*").get("/v1/books", {"Origin": OTHER})).headers["access-control-allow-origin"] == "*"
    named = await client(APP, credentials=True).get("/v1/books", {"Origin": APP})
    assert named.headers["access-control-allow-credentials"] == "true"
    with pytest.raises(SettingsError, match=r"cors\.credentials"):
        load({"TRIVET_CORS__ORIGINS": "*", "TRIVET_CORS__CREDENTIALS": "true"})


async def test_private_networks_are_never_opened() -> None:
    asked = preflight(APP) | {"Access-Control-Request-Private-Network": "true"}
    answer = await client(APP).request("OPTIONS", ONE, headers=asked)
    assert not [name for name in answer.headers if "private-network" in name]


async def test_an_options_request_that_is_no_preflight_is_answered_as_ever() -> None:
    answer = await client(APP).request("OPTIONS", ONE, headers={"Origin": APP})
    assert "access-control-allow-methods" not in answer.headers
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PATCH, OPTIONS"


async def test_a_foreign_page_never_acts_as_the_developer() -> None:
    settings = Settings(environment="development", cors=CorsSettings(origins=(APP,)))
    asker = Client(front(Library(), DEVELOPER, settings))
    assert (await asker.request("DELETE", ONE, headers={"Origin": "http://localhost:5173"})).status == 204
    for origin in (APP, OTHER, "null"):
        assert (await asker.request("DELETE", ONE, headers={"Origin": origin})).status == 401


@pytest.mark.parametrize(
    "origin",
    ["https://app.example.com", "http://localhost:5173", "http://[::1]:3000", "capacitor://localhost", "*"],
)
def test_origins_are_written_as_browsers_send_them(origin: str) -> None:
    settings, _ = load({"TRIVET_CORS__ORIGINS": f"https://a.example, {origin}"})
    assert settings.cors.origins == ("https://a.example", origin)


@pytest.mark.parametrize(
    "origin",
    [
        "app.example.com",
        "https://app.example.com/",
        "https://App.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://*.example.com",
        "null",
    ],
)
def test_what_no_browser_sends_is_refused_at_start(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"list of: text, such as https://app\.example\.com"):
        load({"TRIVET_CORS__ORIGINS": origin})
