"""Pages for people: small, self-contained, light and dark, without scripts and without requests to anywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--link:#0b57d0}
@media(prefers-color-scheme:dark){:root{--link:#8ab4f8}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
a{color:var(--link)}a:focus-visible{outline:2px solid;outline-offset:2px}
code{font:.9em ui-monospace,monospace;background:var(--soft);border-radius:.25rem;padding:.1em .35em}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line)}
td code{overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.4rem 1rem}dt{font-weight:600}dd{margin:0}
@media(max-width:40rem){dl{grid-template-columns:1fr}table,tbody,tr,td{display:block}thead{display:none}
td{border:0;padding:.1rem 0}tr{border-bottom:1px solid var(--line);padding:.5rem 0}}
""".strip()

FIELDS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
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


def element(name: str, content: str) -> Html:
    """Return an element without attributes."""
    return Html(f"<{name}>{html(content)}</{name}>")


def link(address: str, content: str) -> Html:
    """Return a link."""
    return Html(f'<a href="{escape(address)}">{html(content)}</a>')


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Html:
    """Return a table with a head."""
    cells = Html("".join(f'<th scope="col">{html(cell)}</th>' for cell in head))
    body = joined(element("tr", joined(element("td", cell) for cell in row)) for row in rows)
    return joined([Html("<table><thead><tr>"), cells, Html("</tr></thead><tbody>"), body, Html("</tbody></table>")])


def definitions(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return a list of terms and what they are."""
    return element("dl", joined(joined([element("dt", term), element("dd", said)]) for term, said in pairs))


def page(title: str, *parts: str) -> bytes:
    """Return a whole page, encoded."""
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html(title)}</title><style>{STYLE}</style>"
    )
    body = f"<main><h1>{html(title)}</h1>{joined(parts)}</main>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'.encode()
