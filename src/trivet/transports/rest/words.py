"""One word of a URL to a typed value: strictly, with one spelling for each value where a type has a canonical one.

==============  ==========================================================================
``bool``        ``true`` or ``false``
``int``         no sign but ``-``, no leading zeros, within ±(2^53 - 1)
``float``       as in JSON, finite
``Decimal``     digits, a point, digits; no exponent
``UUID``        36 characters
instants        RFC 3339 with an offset; kept in UTC
enums           the member's value
==============  ==========================================================================
"""

from __future__ import annotations

import datetime
import enum
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

import msgspec

from trivet.contracts.result import unwrap, without_none
from trivet.core.decode import Decoder
from trivet.core.error import InvalidArgument

Read = Callable[[str], Any]

INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
UUID_LENGTH = 36


class Unreadable(ValueError):
    """A word is not a value of the type; the text says what was expected."""


def reader_of(annotation: Any) -> Read:
    """Return what turns a word into a value of the type; it raises `Unreadable`.

    Args:
        annotation: A scalar type, its bounds included; ``| None`` is dropped, a URL can not say ``null``.
    """
    wanted = without_none(annotation)
    plain = unwrap(wanted)
    if get_origin(plain) is Literal:
        return _choice({str(value): value for value in get_args(plain)})
    if issubclass(plain, enum.Enum):
        return _choice({str(member.value): member for member in plain})
    if plain is uuid.UUID:
        return _uuid
    if plain is str and wanted is plain:
        return str
    parse = next((parse for kind, parse in PARSERS if issubclass(plain, kind)), None)
    return _checked(wanted, parse)


def _checked(wanted: Any, parse: Read | None) -> Read:
    convert = Decoder[Any](wanted).convert

    def read(word: str) -> Any:
        try:
            value = convert(word if parse is None else parse(word))
        except InvalidArgument as refused:
            raise Unreadable(refused.violations[0].detail) from refused
        return value.astimezone(datetime.UTC) if isinstance(value, datetime.datetime) else value

    return read


def _choice(values: dict[str, Any]) -> Read:
    def read(word: str) -> Any:
        try:
            return values[word]
        except KeyError:
            raise Unreadable(f"expected one of {', '.join(values)}") from None

    return read


def _uuid(word: str) -> uuid.UUID:
    if len(word) == UUID_LENGTH:
        try:
            return msgspec.convert(word, uuid.UUID)
        except msgspec.ValidationError:
            pass
    raise Unreadable("expected a UUID")


def _bool(word: str) -> bool:
    if word not in ("true", "false"):
        raise Unreadable("expected true or false")
    return word == "true"


def _int(word: str) -> int:
    if not INTEGER.fullmatch(word):
        raise Unreadable("expected an integer")
    return int(word)


def _float(word: str) -> float:
    if not NUMBER.fullmatch(word):
        raise Unreadable("expected a number")
    return float(word)


def _decimal(word: str) -> Decimal:
    if not DECIMAL.fullmatch(word):
        raise Unreadable("expected a decimal number")
    return Decimal(word)


def _instant(word: str) -> str:
    if not word.endswith(("Z", "z")) and not re.search(r"[+-][0-9]{2}:[0-9]{2}$", word):
        raise Unreadable("expected an instant with an offset, such as 2026-01-31T12:00:00Z")
    return word


PARSERS: list[tuple[type, Read]] = [
    (bool, _bool),
    (int, _int),
    (float, _float),
    (Decimal, _decimal),
    (datetime.datetime, _instant),
]
