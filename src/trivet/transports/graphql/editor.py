"""The editor under ``/graphql``: GraphiQL, brought along, on a page that asks nobody but its own host.

It is there in development only. What it consists of, ``tools/graphiql.py`` writes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from trivet.transports.rest.reply import NOSNIFF, Reply
from trivet.transports.rest.validator import body_state

FOLDER = Path(__file__).parent
FILES = {
    "graphiql.js": (FOLDER / "graphiql" / "graphiql.js", b"text/javascript; charset=utf-8"),
    "graphiql.css": (FOLDER / "graphiql" / "graphiql.css", b"text/css; charset=utf-8"),
    "editor.js": (FOLDER / "editor.js", b"text/javascript; charset=utf-8"),
}
"""What the page loads, from below ``/graphql/``, with its media type."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Scripts only from this host, none in the page and none made of text; GraphiQL places its windows by styles."""


@cache
def page() -> Reply:
    """Return the page."""
    fields = [(b"content-security-policy", POLICY), (b"referrer-policy", b"no-referrer")]
    return _reply(FOLDER / "editor.html", b"text/html; charset=utf-8", b"accept, accept-encoding", fields)


@cache
def file(name: str) -> Reply:
    """Return one of `FILES`."""
    path, media_type = FILES[name]
    return _reply(path, media_type, b"accept-encoding", [])


def _reply(path: Path, media_type: bytes, vary: bytes, fields: list[tuple[bytes, bytes]]) -> Reply:
    content = path.read_bytes()
    kept = [(b"cache-control", b"no-cache"), (b"vary", vary)]
    return Reply(200, kept, [(b"content-type", media_type), *fields, NOSNIFF], content, body_state(content))
