"""Pages for people: self-contained, light and dark, readable without scripts, without requests to anywhere else.

Style and script are part of each page, so that a page works wherever the app is mounted, and the policy that the
browser is given names them by their hashes: nothing else runs, is loaded or is asked, but this same host by the script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

import msgspec

ASSETS = files("trivet.transports") / "assets"
STYLE = (ASSETS / "pages.css").read_text(encoding="utf-8")
SCRIPT = (ASSETS / "pages.js").read_text(encoding="utf-8")
MARK = (ASSETS / "mark.svg").read_text(encoding="utf-8").strip()
ICON = "data:image/svg+xml," + MARK.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1).replace(
    "currentColor", "%230b8f73"
).replace('"', "'").replace("<", "%3C").replace(">", "%3E")


def _hash(text: str) -> str:
    """Return the source expression that allows an inline text (CSP 3 section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

FIELDS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]


class Html(str):
    """Text that is HTML already; everything else is escaped where it is put into a page."""

    __slots__ = ()


def html(text: str) -> Html:
    """Return the text as HTML; what is HTML already is returned as it is."""
    return text if isinstance(text, Html) else Html(escape(text))


def joined(parts: Iterable[str], separator: str = "") -> Html:
    """Return the parts one after another."""
    return Html(html(separator).join(html(part) for part in parts))


def element(name: str, /, *content: str, **attributes: str | bool | None) -> Html:
    """Return an element.

    Args:
        name: Its name.
        content: What is in it.
        attributes: Its attributes: ``class_`` is `class`, an underscore inside a name a hyphen. `True` is written
            without a value; `False` and `None` are left out.
    """
    said = []
    for attribute, value in attributes.items():
        if value is None or value is False:
            continue
        written = attribute.rstrip("_").replace("_", "-")
        said.append(f" {written}" if value is True else f' {written}="{escape(str(value))}"')
    return Html(f"<{name}{''.join(said)}>{joined(content)}</{name}>")


def link(address: str, *content: str, **attributes: str | bool | None) -> Html:
    """Return a link."""
    return element("a", *content, href=address, **attributes)


def code(text: str) -> Html:
    """Return text as code that may break after a slash or an underscore, never inside a word."""
    return element("code", Html(html(text).replace("/", "/<wbr>").replace("_", "_<wbr>").replace(":", "<wbr>:")))


def badge(text: str, colour: str) -> Html:
    """Return a small label; `colour` is the class of the style sheet, or nothing."""
    return element("span", text, class_=f"badge {colour}".strip())


def section(title: str, anchor: str, *content: str, level: int = 2) -> Html:
    """Return a heading that others link to, and what stands below it."""
    return joined([element(f"h{level}", title, id=anchor), *content])


def items(parts: Iterable[str], class_: str | None = None) -> Html:
    """Return a list."""
    return element("ul", *(element("li", part) for part in parts), class_=class_)


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return terms and what they are."""
    written = (joined([element("dt", term), element("dd", said)]) for term, said in pairs)
    return element("dl", *written, class_="facts")


def block(text: str, label: str, *, language: str = "", anchor: str | None = None) -> Html:
    """Return a block of code that can be scrolled with the keyboard and copied.

    Args:
        text: The code.
        label: What it is, for those who do not see it.
        language: `json` is coloured.
        anchor: Its id, where the script fills it.
    """
    shown = coloured(text) if language == "json" else html(text)
    pre = element("pre", element("code", shown), tabindex="0", role="region", aria_label=label)
    return element("div", pre, class_="copied", data_copy=label, id=anchor)


def coloured(text: str) -> Html:
    """Return formatted JSON with its names, texts and other values told apart."""
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        rest = line.strip()
        written = ""
        if rest.startswith('"') and '": ' in rest:
            name, _, rest = rest.partition('": ')
            written = f'<span class="k">{escape(name)}&quot;</span>: '
        body, comma = (rest[:-1], ",") if rest.endswith(",") else (rest, "")
        if body.startswith('"'):
            written += f'<span class="s">{escape(body)}</span>'
        elif body[:1] in "-0123456789tfn" and body:
            written += f'<span class="n">{escape(body)}</span>'
        else:
            written += escape(body)
        lines.append(indent + written + comma)
    return Html("\n".join(lines))


class Frame(msgspec.Struct, frozen=True):
    """What all pages of an app have around them.

    Attributes:
        site: The name of the app.
        root: Where the app is served.
        links: Address, below the root, and text of the pages that every page leads to.
        footer: What stands below every page.
    """

    site: str
    root: str
    links: Sequence[tuple[str, str]]
    footer: Sequence[str] = ()

    def page(self, title: str, *content: str, here: str = "", side: str = "", wide: bool = True) -> bytes:
        """Return a whole page, encoded.

        Args:
            title: What the page is, for the window and for the search.
            content: What it says, with its one first heading.
            here: The address, below the root, of the page that this is or belongs to.
            side: A landmark beside the content.
            wide: Whether the content has the page for itself.
        """
        said = title if title == self.site else f"{title} · {self.site}"
        head = (
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<title>{html(said)}</title><link rel="icon" href="{ICON}"><style>{STYLE}</style>'
        )
        main = element("main", *content, id="content", class_="wide" if wide else None)
        parts = (
            link("#content", "Skip to the content", class_="skip"),
            element("header", element("div", self._brand(), self._navigation(here)), class_="bar"),
            main if wide else element("div", side, main, class_="shelf"),
            element("footer", element("div", *self.footer)) if self.footer else "",
        )
        body = f"{joined(parts)}<script>{SCRIPT}</script>"
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'.encode()

    def _brand(self) -> Html:
        shown = (Html(MARK), element("span", self.site))
        return link(f"{self.root}/", *shown, class_="brand") if self.links else element("p", *shown, class_="brand")

    def _navigation(self, here: str) -> Html:
        written = (
            link(f"{self.root}{address}", text, aria_current="page" if address == here else None)
            for address, text in self.links
        )
        return element("nav", items(written), aria_label="This API")
