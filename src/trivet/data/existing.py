"""Whether a table that exists fits the shape that is to be kept in it."""

from __future__ import annotations

from collections.abc import Iterable


def disagreement(table: str, existing: Iterable[str], wanted: Iterable[str]) -> str | None:
    """Return what is wrong with a table whose columns differ from the wanted ones, ``None`` where they do not."""
    there, needed = set(existing), set(wanted)
    if there == needed:
        return None
    lacks = ", ".join(sorted(needed - there))
    keeps = ", ".join(sorted(there - needed))
    return (
        f"table {table} was made from another shape"
        + (f"; it lacks {lacks}" if lacks else "")
        + (f"; it still has {keeps}" if keeps else "")
    )


def unsearchable(database: object, indexes: Iterable[str]) -> str | None:
    """Return what to do about indexes of declared searches that are not whole, ``None`` where there are none.

    Args:
        database: As messages name it.
        indexes: Their names.
    """
    names = ", ".join(indexes)
    if not names:
        return None
    return (
        f"{database}: what rows are searched with is not there, or not whole: {names}. Write and apply the revision "
        "(`trivet db diff`, `trivet db migrate`), or in development remove the tables"
    )


def missing(database: object, tables: Iterable[str], where: str) -> str | None:
    """Return what to do about tables that do not exist, ``None`` where there are none.

    Args:
        database: As messages name it.
        tables: Their names.
        where: What the right place is named with.
    """
    names = list(tables)
    if not names:
        return None
    return (
        f"{database} has no {'table' if len(names) == 1 else 'tables'} {', '.join(names)}. "
        f"Name the right {where} with DATABASE_URL, or create what is missing: `trivet db migrate`, or in development "
        "TRIVET_DATABASE__CREATE=true"
    )
