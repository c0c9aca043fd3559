"""Descriptions as HTML: a little Markdown, and never markup of their own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.transports.pages import coloured
from trivet.transports.prose import inline, prose


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a `b` c", "a <code>b</code> c"),
        ("**a** `**b**`", "<strong>a</strong> <code>**b**</code>"),
        ("a ` b", "a ` b"),
        ("``a`b``", "<code>a`b</code>"),
        ("<a> & `<b>`", "&lt;a&gt; &amp; <code>&lt;b&gt;</code>"),
    ],
)
def test_a_sentence_has_code_and_emphasis(text: str, written: str) -> None:
    assert inline(text) == written


def test_a_text_has_paragraphs_headings_and_lists() -> None:
    assert prose("One\ntwo.\n\n## Three\n\n- four\n  five\n- six\n\nSeven", level=3) == (
        "<p>One two.</p><h3>Three</h3><ul><li>four five</li><li>six</li></ul><p>Seven</p>"
    )


@given(st.text())
def test_no_text_becomes_markup_of_its_own(text: str) -> None:
    tags = set(re.findall(r"<[^>]*>", prose(text)))
    assert tags <= {f"<{end}{tag}>" for tag in ("p", "ul", "li", "h2", "code", "strong") for end in ("", "/")}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_coloured_json_reads_as_it_was(value: object) -> None:
    import html
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False)
    assert html.unescape(re.sub(r"<[^>]*>", "", coloured(text))) == text
