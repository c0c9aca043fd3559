"""What a table declares about search: which fields hold the words, and in which language they are."""

from __future__ import annotations

LANGUAGES = frozenset(
    {
        *("simple", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french"),
        *("german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali"),
        *("norwegian", "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish"),
        "yiddish",
    }
)
"""What PostgreSQL 15 and newer have dictionaries for; ``simple`` leaves words as they are."""

MAX_LEVELS = 4
"""How many weights there are: as many as PostgreSQL has."""

MAX_FIELDS = 6
"""Of how many fields the words fit the megabyte that PostgreSQL keeps of a row, however long the texts are."""


class Search:
    """Makes the rows of a table findable by the words in their fields.

    ``products = Table(catalog, Product, search=Search("name", ("brand", "sku"), "description"), ...)``

    Args:
        fields: Paths of fields that hold text, the most telling first; those of a tuple count alike. At most 4 levels
            and 6 fields.
        language: Whose endings are cut off, so that ``chairs`` finds ``chair``; words are kept as they are when absent.
            SQLite knows the endings of English only.
    """

    def __init__(self, *fields: str | tuple[str, ...], language: str = "simple") -> None:
        self.levels = tuple((each,) if isinstance(each, str) else tuple(each) for each in fields)
        self.language = language

    def __repr__(self) -> str:
        fields = ", ".join(repr(each[0] if len(each) == 1 else each) for each in self.levels)
        return f"Search({fields}, language={self.language!r})"
