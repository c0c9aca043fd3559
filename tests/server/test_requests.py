"""What a request says of itself reaches the application, and what it does not send in time is refused."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.integration.wire import Answer, Connection
from trivet.testing import Served, serve

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def served(kind: str) -> Iterator[Served]:
    with serve("plain:app", app_dir=HERE, environ={"TRIVET_SERVER__BODY_TIMEOUT": "1"}) as served:
        yield served


def ask(served: Served, *lines: str) -> Answer:
    with Connection(served) as connection:
        connection.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))
        return connection.final()


def problem(answer: Answer) -> tuple[int, str]:
    return answer.status, msgspec.json.decode(answer.body)["reason"]


@pytest.mark.parametrize(
    "fields", [["Host: other.example:1"], ["Host: "], ["Host: a"]], ids=["other", "empty", "short"]
)
@pytest.mark.parametrize("target", ["http://shop.example:8000/scope?a=b", "HTTP://shop.example:8000/scope?a=b"])
def test_the_host_of_an_absolute_target_counts_in_place_of_the_field(
    target: str, fields: list[str], served: Served
) -> None:
    told = literal_eval(ask(served, f"GET {target} HTTP/1.1", *fields).body.decode())
    assert [value for name, value in told["headers"] if name == b"host"] == [b"shop.example:8000"]
    assert (told["path"], told["raw_path"], told["query_string"]) == ("/scope", b"/scope", b"a=b")


def test_an_absolute_target_of_http_1_0_needs_no_field(served: Served) -> None:
    told = literal_eval(ask(served, "GET http://shop.example/scope HTTP/1.0").body.decode())
    assert [value for name, value in told["headers"] if name == b"host"] == [b"shop.example"]


@pytest.mark.parametrize("authority", ["", "a,b", "user@"], ids=["none", "two", "a user alone"])
def test_an_absolute_target_without_a_host_is_refused(authority: str, served: Served) -> None:
    assert ask(served, f"GET http://{authority}/scope HTTP/1.1", "Host: a").status == 400


def test_a_user_in_an_absolute_target_never_arrives(kind: str, served: Served) -> None:
    answer = ask(served, "GET http://user:word@shop.example/scope HTTP/1.1", "Host: a")
    assert answer.status == (200 if kind == "envoy" else 400)
    assert b"word" not in answer.body


def test_http_1_0_in_chunks_is_told_from_what_follows(kind: str, served: Served) -> None:
    with Connection(served) as connection:
        connection.send(
            b"POST /body HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"25\r\nGET /nowhere HTTP/1.1\r\nHost: evil\r\n\r\n\r\n0\r\n\r\nGET /scope HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert connection.final().status == 200
        if kind == "envoy":
            assert b"evil" not in connection.final().body  # what is in a chunk is no request
        else:
            assert connection.ended()


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_body_that_is_late_is_refused(framing: str, served: Served) -> None:
    with Connection(served) as connection:
        connection.send(f"POST /body HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        assert problem(connection.final()) == (408, "REQUEST_TIMEOUT")
        assert connection.ended()
    assert ask(served, "GET /scope HTTP/1.1", "Host: a").status == 200


def test_a_body_that_comes_in_time_is_taken(served: Served) -> None:
    with Connection(served) as connection:
        for _ in range(2):  # the time of the first one is over, and is not that of the second
            connection.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{")
            connection.send(b"}")
            assert connection.final().status == 200
