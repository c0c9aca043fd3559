"""Pages for people: small, self-contained, light and dark, without scripts and without requests to anywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--quiet:#57606a;--line:#d8dee4;--soft:#f3f5f7;--link:#0a53be;
--blue:#0a4ba8;--blue-soft:#e2edfd;--green:#0b5e35;--green-soft:#dcf3e4;--amber:#6f4300;--amber-soft:#fdeecd;
--red:#98201c;--red-soft:#fde4e2}
@media(prefers-color-scheme:dark){:root{--page:#14171c;--ink:#e4e8ec;--quiet:#a0a9b4;--line:#2e353d;--soft:#1e232a;
--link:#8ab8ff;--blue:#a3c7ff;--blue-soft:#17305a;--green:#8fdcae;--green-soft:#123a25;--amber:#f2c879;
--amber-soft:#423009;--red:#ffb1ab;--red-soft:#50201d}}
*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{font:16px/1.55 system-ui,sans-serif;margin:0 auto;max-width:68rem;padding:1.5rem 1.25rem 4rem;
background:var(--page);color:var(--ink)}
h1{font-size:1.75rem;line-height:1.2;margin:.25rem 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;line-height:1.3;margin:2.5rem 0 .5rem}
p{margin:.5rem 0;max-width:48rem}
a{color:var(--link);text-underline-offset:.15em}a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
code,pre{font:.875em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre code{font-size:1em}
p code,dd code,small code{background:var(--soft);border-radius:.25rem;padding:.1em .3em}
pre{background:var(--soft);border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem;overflow-x:auto}
small,.quiet{color:var(--quiet)}small{font-size:.875em}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:0;padding:0}
header nav{border-bottom:1px solid var(--line);padding-bottom:.75rem;margin-bottom:1.5rem}
header nav [aria-current]{color:inherit;font-weight:600;text-decoration:none}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.55rem 1.25rem .55rem 0;border-bottom:1px solid var(--line)}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--quiet);font-size:.875em;font-weight:600}
tbody th{font-weight:inherit}
tr:target{background:var(--soft)}
td:last-child{width:55%}
.badge{display:inline-block;min-width:4.6em;text-align:center;border-radius:.3rem;padding:.1em .5em;margin-right:.6em;
font:600 .75em/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
background:var(--soft);color:var(--quiet)}
.blue{background:var(--blue-soft);color:var(--blue)}.green{background:var(--green-soft);color:var(--green)}
.amber{background:var(--amber-soft);color:var(--amber)}.red{background:var(--red-soft);color:var(--red)}
h2 small{font-weight:400}
td small,th small{display:block;margin-top:.1rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.6rem 1.5rem}dt{color:var(--quiet)}dd{margin:0}
@media(max-width:44rem){body{padding:1rem 1rem 3rem}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.75rem}
table,tbody,tr,th,td{display:block}thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
th,td{border:0;padding:.15rem 0}td:last-child{width:auto}tr{border-bottom:1px solid var(--line);padding:.7rem 0}
tbody th{overflow-wrap:anywhere}}
@media print{header nav{display:none}}
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


def code(text: str) -> Html:
    """Return text as code that may break after a slash or an underscore, never inside a word."""
    return element("code", Html(html(text).replace("/", "/<wbr>").replace("_", "_<wbr>").replace(":", "<wbr>:")))


def badge(text: str, colour: str) -> Html:
    """Return a small label; `colour` is the class of the style sheet, or nothing."""
    return Html(f'<span class="badge {escape(colour)}">{html(text)}</span>')


def prose(text: str) -> Html:
    """Return a sentence of a docstring: what stands in backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return html(text)
    return joined(element("code", part) if i % 2 else html(part) for i, part in enumerate(parts))


def table(head: Iterable[str], rows: Iterable[tuple[str | None, Iterable[str]]]) -> Html:
    """Return a table with a head; the first cell of each row names it.

    Args:
        head: What the columns are.
        rows: For each row its anchor, if others link to it, and its cells.
    """
    cells = Html("".join(f'<th scope="col">{html(cell)}</th>' for cell in head))
    body = joined(_row(anchor, list(row)) for anchor, row in rows)
    return joined([Html("<table><thead><tr>"), cells, Html("</tr></thead><tbody>"), body, Html("</tbody></table>")])


def _row(anchor: str | None, cells: list[str]) -> Html:
    opening = Html(f'<tr id="{escape(anchor)}">' if anchor is not None else "<tr>")
    first = Html(f'<th scope="row">{html(cells[0])}</th>')
    return joined([opening, first, *(element("td", cell) for cell in cells[1:]), Html("</tr>")])


def heading(text: str, anchor: str) -> Html:
    """Return the heading of a section that others link to."""
    return Html(f'<h2 id="{escape(anchor)}">{html(text)}</h2>')


def definitions(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return a list of terms and what they are."""
    return element("dl", joined(joined([element("dt", term), element("dd", said)]) for term, said in pairs))


def navigation(label: str, links: Iterable[tuple[str, str]], here: str | None = None) -> Html:
    """Return a landmark with links.

    Args:
        label: What the links are, for those who do not see them.
        links: Address and text.
        here: The address of this page.
    """
    items = []
    for address, text in links:
        current = ' aria-current="page"' if address == here else ""
        items.append(Html(f'<li><a href="{escape(address)}"{current}>{html(text)}</a></li>'))
    return Html(f'<nav aria-label="{escape(label)}"><ul>{joined(items)}</ul></nav>')


def page(title: str, site: str, top: Html, *parts: str) -> bytes:
    """Return a whole page, encoded.

    Args:
        title: The heading.
        site: What the page is a part of.
        top: The navigation that all pages have.
        parts: What it says.
    """
    said = title if title == site else f"{title} · {site}"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html(said)}</title><style>{STYLE}</style>"
    )
    body = f"<header>{top}</header><main><h1>{html(title)}</h1>{joined(parts)}</main>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'.encode()
