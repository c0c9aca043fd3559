"""What the pages of an app say: the index that leads to everything, and an explanation of every kind of error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from trivet.contracts.failures import own_fields, problem_example, whole_example
from trivet.contracts.model import Api
from trivet.contracts.problem import PHRASES, slug_of, status_of
from trivet.contracts.sample import NoSampleError
from trivet.contracts.schema import Schemas
from trivet.core.error import Code, Error
from trivet.transports.pages import (
    Frame,
    Html,
    badge,
    block,
    code,
    element,
    facts,
    items,
    joined,
    link,
    section,
)
from trivet.transports.prose import inline, prose
from trivet.transports.reference import Reference, search

ADVICE: dict[Code, str] = {
    Code.CANCELLED: "Nothing: the caller went away before the answer.",
    Code.UNKNOWN: "Report it with the request id, which is in `instance` and in the Request-Id header.",
    Code.INVALID_ARGUMENT: "Change the request; the same one fails again. `errors` says what is wrong and where.",
    Code.DEADLINE_EXCEEDED: "Give it more time with Request-Timeout if you asked for less, or ask for less. "
    "The request may have had its effect: retry with the same Idempotency-Key.",
    Code.NOT_FOUND: "Check the id. What you may not see is answered in the same way.",
    Code.ALREADY_EXISTS: "Use what exists, or choose another name.",
    Code.PERMISSION_DENIED: "Ask for the permission that is missing; the same credentials fail again.",
    Code.RESOURCE_EXHAUSTED: "Wait as long as Retry-After says, then retry.",
    Code.FAILED_PRECONDITION: "Read the current state and decide anew; the same request fails until the state changes.",
    Code.ABORTED: "Read it again, apply your change to what it is now, and retry.",
    Code.OUT_OF_RANGE: "Ask for something within the range.",
    Code.UNIMPLEMENTED: "Check method and path against /openapi.json.",
    Code.INTERNAL: "Report it with the request id, which is in `instance` and in the Request-Id header.",
    Code.UNAVAILABLE: "Wait as long as Retry-After says, then retry.",
    Code.DATA_LOSS: "Report it with the request id, which is in `instance` and in the Request-Id header.",
    Code.UNAUTHENTICATED: "Send valid credentials: Authorization: Bearer.",
}
"""What a caller can do about an error of each code."""


def error_classes(base: type[Error] = Error) -> Iterator[type[Error]]:
    """Yield every kind of error there is in this process."""
    for kind in base.__subclasses__():
        yield kind
        yield from error_classes(kind)


class Catalogue:
    """The documents and pages about an app.

    Args:
        api: The model of the app.
        metrics: Where the metrics of all workers are, if the pages may say so.
        open: Whether callers may see what there is; if not, only the page of one error is for them.
    """

    def __init__(self, api: Api, metrics: str | None = None, *, open: bool = True) -> None:
        self._api = api
        self._metrics = metrics
        self._open = open
        self._problems: dict[str, type[Error]] = {}

    def frame(self, root: str) -> Frame:
        """Return what all pages have around them, where the app is served below `root`."""
        if not self._open:
            return Frame(site=self._api.name, root=root, links=())
        links = [("/", "Overview"), ("/docs", "Reference"), ("/problems", "Errors")]
        health = [link(f"{root}{path}", text) for path, text in (("/livez", "Live"), ("/readyz", "Ready"))]
        if self._metrics is not None:
            health.append(link(self._metrics, "Metrics"))
        return Frame(
            site=self._api.name,
            root=root,
            links=links,
            footer=[link(f"{root}/openapi.json", "OpenAPI 3.1"), *health],
        )

    def problem(self, slug: str) -> type[Error] | None:
        """Return the kind of error whose reason has this form, declared ones first."""
        if slug not in self._problems:  # classes may have been defined since
            self._problems = {slug_of(kind): kind for kind in (*error_classes(), *self._api.errors())}
        return self._problems.get(slug)

    def problems(self) -> list[type[Error]]:
        """Return every kind of error, by reason."""
        found = {kind.reason: kind for kind in (*error_classes(), *self._api.errors())}
        return [found[reason] for reason in sorted(found)]

    def raised_by(self, kind: type[Error]) -> list[str]:
        """Return the operations that declare it."""
        return [op.id for op in self._api.operations if kind in op.errors] if self._open else []

    # -- the index

    def index(self, root: str) -> dict[str, Any]:
        """Return the index as data; addresses are below `root`."""
        return {
            "name": self._api.name,
            "openapi": f"{root}/openapi.json",
            "problems": f"{root}/problems",
            "health": {"live": f"{root}/livez", "ready": f"{root}/readyz"},
            "operations": [
                {
                    "id": op.id,
                    "kind": op.operation.kind.value,
                    "method": op.face.method,
                    "path": f"{root}{op.path}",
                    "summary": op.summary,
                }
                for op in self._api.operations
            ],
        }

    def index_page(self, document: Mapping[str, Any], root: str) -> bytes:
        """Return the index as a page."""
        frame = self.frame(root)
        reference = Reference(document, frame)
        about, info = self._api.about, document["info"]
        said = prose(about.description) if about.description else element("p", "An API of typed operations.")
        number = len(self._api.operations)
        chips = [f"version {info['version']}", f"{number} operation{'s' * (number != 1)}"]
        chips += [server["description"] for server in document["servers"]]
        actions = [
            link(f"{root}/docs", "Read the reference", class_="button first"),
            link(f"{root}/openapi.json", "OpenAPI 3.1", class_="button"),
        ]
        hero = element(
            "div",
            element("h1", self._api.name),
            Html(said.replace("<p>", '<p class="lead">', 1)),
            items(chips, class_="chips"),
            element("p", *actions, class_="actions"),
            *self._contact(),
        )
        cards = (self._card(reference, tag) for tag in document["tags"] if reference.entries(tag["name"]))
        return frame.page(
            self._api.name,
            element("div", hero, self._first_request(reference, root), class_="hero"),
            section("Modules", "modules", element("div", *cards, class_="cards")),
            here="/",
        )

    def _contact(self) -> Iterator[Html]:
        about = self._api.about
        name: str = about.contact or about.url or about.email
        if name:
            address = about.url or (f"mailto:{about.email}" if about.email else "")
            yield element("p", "Questions? Ask ", link(address, name) if address else name, ".", class_="quiet")

    def _first_request(self, reference: Reference, root: str) -> Html:
        """Return a request that works at once, where there is one that needs neither a scope nor an argument."""
        for entry in reference.operations.values():
            needs = [p for p in entry.described.get("parameters", ()) if p.get("required")]
            if entry.method == "GET" and not (entry.scopes or needs or entry.streams):
                shown = f"curl '{root}{entry.path}'"
                said = element(
                    "p", "A first request: ", link(reference.address(entry), inline(entry.summary or entry.id))
                )
                return element("div", said, block(shown, "A first request", anchor="first"), class_="quiet")
        return Html("")

    def _card(self, reference: Reference, tag: Mapping[str, Any]) -> Html:
        name = tag["name"]
        return element(
            "section",
            element("h3", name, id=name),
            element("p", tag["description"], class_="quiet"),
            reference.listed(name),
            class_="card",
            aria_labelledby=name,
        )

    # -- errors

    def describe(self, kind: type[Error], root: str) -> dict[str, Any]:
        """Return what an error means, as data."""
        return {
            "type": f"{root}/problems/{slug_of(kind)}",
            "title": kind.message,
            "status": status_of(kind),
            "code": kind.code.name.lower(),
            "reason": kind.reason,
            "advice": ADVICE[kind.code],
            "raised_by": self.raised_by(kind),
        }

    def problem_page(self, kind: type[Error], root: str) -> bytes:
        """Return what an error means, as a page."""
        status = status_of(kind)
        names = [link(f"{root}/docs/{name}", code(name), class_="plain") for name in self.raised_by(kind)]
        phrase = f"{status} {PHRASES.get(status, '')}".strip()
        up = link(f"{root}/problems", "Errors") if self._open else "Errors"
        return self.frame(root).page(
            kind.message,
            element("p", up, f" · {kind.reason}", class_="crumbs"),
            element("h1", kind.message),
            element("p", badge(str(status), _colour(status)), code(kind.reason), class_="route"),
            element("p", inline(ADVICE[kind.code]), class_="lead"),
            facts(
                [
                    ("Status", phrase),
                    ("Code", element("code", kind.code.name.lower())),
                    ("Raised by", joined(names, ", ") if names else "The platform, or any operation."),
                ]
            ),
            section("What is sent", "sent", block(_shown(kind, root), "A problem document", language="json")),
            here="/problems",
        )

    def problems_page(self, root: str) -> bytes:
        """Return all errors as a page: first those of the app, then those that every app has."""
        problems = self.problems()
        ours = [kind for kind in problems if kind.__module__.startswith("trivet.")]
        groups: list[Html] = []
        for title, anchor, kinds in (
            (f"Of {self._api.name}", "app", [kind for kind in problems if kind not in ours]),
            ("Of the platform", "platform", ours),
        ):
            if kinds:
                listed = items((self._listed(root, kind) for kind in kinds), class_="errors")
                parts = section(title, anchor, listed)
                groups.append(element("section", parts, aria_labelledby=anchor, data_group=True))
        return self.frame(root).page(
            "Errors",
            element("h1", "Errors"),
            element(
                "p",
                "Every error is a problem document (RFC 9457), whatever was asked. Its ",
                element("code", "reason"),
                " never changes; its ",
                element("code", "type"),
                " is the address of the page that explains it.",
                class_="lead",
            ),
            search("Find an error", ".errors li"),
            *groups,
            here="/problems",
        )

    def _listed(self, root: str, kind: type[Error]) -> Html:
        status = status_of(kind)
        shown = (badge(str(status), _colour(status)), code(kind.reason), element("span", inline(kind.message)))
        return link(f"{root}/problems/{slug_of(kind)}", *shown)


def _colour(status: int) -> str:
    return "red" if status >= 500 else "amber"


def _shown(kind: type[Error], root: str) -> str:
    """Return what an error of this kind looks like."""
    try:
        example = whole_example(kind, Schemas())
    except NoSampleError:
        example = problem_example(kind) | dict.fromkeys((field.encode_name for field in own_fields(kind)), "…")
    example["type"] = f"{root}{example['type']}"
    return msgspec.json.format(msgspec.json.encode(example), indent=2).decode()
