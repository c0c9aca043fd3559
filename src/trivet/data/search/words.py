"""What somebody typed into a search box, as a tree: parsed once, for every engine, and never wrong.

``oak chair "solid wood" -plastic wal*`` asks for the words ``oak`` and ``chair``, in any order, for the phrase, for a
word that begins with ``wal``, and for no ``plastic``. Everything else that engines of search take for syntax separates
words here. So every text has a meaning: one that names no word that is wanted asks for nothing and finds nothing, and
what is refused is only what is too long, which a schema can say.
"""

from __future__ import annotations

from collections.abc import Iterator

from trivet.core.error import InvalidArgument, Violation
from trivet.core.shape import Struct
from trivet.data.search.folding import folded

MAX_LENGTH = 200
"""Characters of a text that somebody searches with, and so what bounds its words: each is looked up."""

POINTER = "#/query"
"""The argument that errors are about: call it ``query``."""


class Term(Struct):
    """A word or a phrase, folded.

    Attributes:
        words: What follows each other; one, where it is no phrase.
        begins: Whether the last word is the beginning of one.
    """

    words: tuple[str, ...]
    begins: bool = False


class Words(Struct):
    """What is asked for.

    Attributes:
        wanted: What a row has, all of it; nothing is found where this is empty.
        unwanted: Of which it has nothing.
    """

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...] = ()


def words_of(text: str) -> Words:
    """Return what a text asks for.

    Raises:
        InvalidArgument: It is too long.
    """
    if len(text) > MAX_LENGTH:
        detail = f"must have at most {MAX_LENGTH} characters"
        raise InvalidArgument(violations=(Violation(detail=detail, pointer=POINTER),))
    terms = dict.fromkeys(_terms(text))
    return Words(
        wanted=tuple(term for excluded, term in terms if not excluded),
        unwanted=tuple(term for excluded, term in terms if excluded),
    )


def _terms(text: str) -> Iterator[tuple[bool, Term]]:
    """Yield whether it is unwanted, and the term, of each word and each phrase; the end closes a phrase, too."""
    unwanted = False
    for index, part in enumerate(text.split('"')):
        if index % 2:
            if words := tuple(folded(part).split()):
                yield unwanted, Term(words=words)
            continue
        pieces = part.split()
        for piece in pieces:
            if words := tuple(folded(piece).split()):  # of well-known it is two that follow each other
                yield piece.startswith("-"), Term(words=words, begins=piece.endswith("*"))
        unwanted = bool(pieces) and pieces[-1] == "-" and part.endswith("-")
