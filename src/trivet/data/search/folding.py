"""What two spellings of a word have in common: `folded` in Python, and the same in PL/pgSQL.

SQLite folds by itself (the tokenizer ``unicode61 remove_diacritics 2``), while PostgreSQL does so by extensions that
may not be there, or by the locale that a database happens to have. So what PostgreSQL is given is folded as SQLite
does it: cases of Latin, Greek, Cyrillic and Armenian letters are one, marks on Latin letters are gone, and what is
neither a letter nor a digit separates words. The tests compare the three.

What it makes is in indexes that exist: a change of it is a change of what their names are made of.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 30_000
"""Characters of a field that are looked at: no more words than PostgreSQL counts places (16,383)."""

MARKS = r"[\u0300-\u036f]"
"""Combining diacritical marks."""

MARKED = r"([A-Za-z\u00c0-\u024f\u1e00-\u1eff])" + MARKS + "+"
"""A Latin letter and its marks; those of other scripts make other letters."""

SEPARATORS = (
    r"[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7"
    r"\u2000-\u206f\u20a0-\u20cf\u2190-\u245f\u2500-\u2775\u2794-\u2bff\u3000-\u3004\u3008-\u3020\u3030\u303d-\u303f"
    r"\ufe30-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufffc\ufffd\U0001f000-\U0001f0ff"
    r"\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001f9ff]+"
)
"""What separates words, for Python's regular expressions and for PostgreSQL's."""

COMPOSED = r"[\u00c0-\u024f\u0300-\u036f\u1e00-\u1eff]"
"""What is looked at for marks."""

_COMMON = "".join(map(chr, (*range(0x400, 0x430), *range(0x391, 0x3A2), *range(0x3A3, 0x3AC)))) + "ΆΈΉΊΌΎΏ"
_RARE = "".join(map(chr, (*range(0x48A, 0x4C0, 2), *range(0x4D0, 0x530, 2), *range(0x531, 0x557)))) + "ÆØÞÐĐĦŁŊŒŦẞ"

CASES = ((_COMMON + "ς", _COMMON.lower() + "σ"), (_RARE + "ſµ", _RARE.lower() + "sμ"))
"""Capitals and what they become, apart from A to Z: first what is often there, as PostgreSQL tries one by one."""

_TABLE = str.maketrans("".join(each for each, _ in CASES), "".join(each for _, each in CASES))
_LOWER = {upper: upper + 32 for upper in range(65, 91)}
_COMPOSED, _MARKED, _MARKS = re.compile(COMPOSED), re.compile(MARKED), re.compile(MARKS)
_SEPARATORS = re.compile(SEPARATORS.replace(r"\u0001", r"\x00", 1).removesuffix("]+") + r"\ud800-\udfff]+")


def folded(text: str) -> str:
    """Return a text in which words that are spelled alike are the same, each separated from the next by a space."""
    if text.isascii():
        return _SEPARATORS.sub(" ", text.lower())
    if _COMPOSED.search(text):
        unmarked = _MARKED.sub(r"\1", unicodedata.normalize("NFD", text))
        text = _MARKS.sub("", unicodedata.normalize("NFC", unmarked))
    return _SEPARATORS.sub(" ", text.translate(_LOWER).translate(_TABLE))


PLAIN = "[^A-Za-z0-9 .,;!?]|[.,;!?][^ ]"
"""What a text in ASCII does not have that PostgreSQL's parser takes apart as it should be."""


def folding(text: str) -> str:
    """Return statements of PL/pgSQL that make `folded` of a variable, whatever the locale of the database is."""
    unmarked = f"regexp_replace(normalize({text}, NFD) COLLATE \"C\", '{MARKED}', '\\1', 'g')"
    composed = f"regexp_replace(normalize({unmarked}, NFC) COLLATE \"C\", '{MARKS}', '', 'g')"
    cases = "".join(
        f"""
            IF {text} COLLATE "C" ~ '[{cases}]' THEN
                {text} := translate({text}, '{cases}', '{becomes}');
            END IF;"""
        for cases, becomes in CASES
    )
    return f"""\
        IF octet_length({text}) = length({text}) THEN
            {text} := lower({text} COLLATE "C");
            IF {text} COLLATE "C" ~ '{PLAIN}' THEN
                {text} := regexp_replace({text} COLLATE "C", '[^a-z0-9]+', ' ', 'g');
            END IF;
        ELSE
            {text} := lower({text} COLLATE "C");
            IF {text} COLLATE "C" ~ '{COMPOSED}' THEN
                {text} := lower({composed} COLLATE "C");
            END IF;{cases}
            {text} := regexp_replace({text} COLLATE "C", '{SEPARATORS}', ' ', 'g');
        END IF;"""
