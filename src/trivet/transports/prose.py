"""Docstrings and descriptions as HTML: paragraphs, lists, headings, emphasis and code of Markdown, nothing else of it.

What it does not know stays as it was written. Text is escaped first, so that no description brings markup of its own.
"""

from __future__ import annotations

import re

from trivet.transports.pages import Html, element, html, joined

HEADING = re.compile(r"(#{1,4}) +(.+)")
ITEM = re.compile(r"[-*] +(.+)")
BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
LITERAL = re.compile(r"(`+)(.+?)\1", re.DOTALL)


def inline(text: str) -> Html:
    """Return a sentence: what stands in backticks is code, what stands in two asterisks is strong."""
    parts: list[str] = []
    end = 0
    for found in LITERAL.finditer(text):
        parts += [_strong(text[end : found.start()]), element("code", found[2])]
        end = found.end()
    return joined([*parts, _strong(text[end:])])


def _strong(text: str) -> Html:
    return Html(BOLD.sub(r"<strong>\1</strong>", html(text)))


def prose(text: str, level: int = 2) -> Html:
    """Return a text of several paragraphs.

    Args:
        text: Markdown, or a docstring.
        level: What its first level of headings becomes.
    """
    return joined(_block(lines.split("\n"), level) for lines in re.split(r"\n\s*\n", text.strip()) if lines)


def _block(lines: list[str], level: int) -> Html:
    heading = HEADING.fullmatch(lines[0].strip())
    if heading is not None:
        below = _block(lines[1:], level) if lines[1:] else ""
        return joined([element(f"h{level}", inline(heading[2])), below])
    if ITEM.match(lines[0].strip()):
        items: list[str] = []
        for line in lines:
            item = ITEM.match(line.strip())
            if item is not None:
                items.append(item[1])
            else:
                items[-1] += f" {line.strip()}"
        return element("ul", *(element("li", inline(item)) for item in items))
    return element("p", inline(" ".join(line.strip() for line in lines)))
