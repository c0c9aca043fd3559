"""Decoding what comes in, strictly: the boundary of the app.

msgspec decodes and validates in one pass. What it does not check is checked after that, for types that need it
(`checks`); when it refuses, everything that is wrong is found in a second pass (`violations`). What other processes of
ours wrote is read with `tolerant`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Generic, TypeVar, cast, get_args, get_origin

import msgspec

from trivet.core.checks import NEWLINE_AT_END, check_for, ends_check_for
from trivet.core.error import InvalidArgument, Violation
from trivet.core.patch import Patch, patch_of, patch_shape
from trivet.core.typeinfo import info_of
from trivet.core.violations import Findings, first_line, translate, walk

T = TypeVar("T")


class Decoder(Generic[T]):
    """Decodes JSON bytes, or values that are already parsed, into one type, strictly.

    Args:
        type: Any type msgspec knows, or ``Patch[Shape]``.
    """

    def __init__(self, type: Any) -> None:
        self.type = type
        self._patched = patched_shape(type)
        self._wire: Any = patch_shape(self._patched) if self._patched else type
        self._json = msgspec.json.Decoder(self._wire)
        self._check = check_for(self._wire)
        self._plain = self._check is None and self._patched is None
        self._check_ends = ends_check_for(self._wire)

    def json(self, data: bytes | bytearray) -> T:
        """Decode a JSON document.

        Raises:
            InvalidArgument: With every violation that can be told, as JSON pointers.
        """
        try:
            value = self._json.decode(data)
        except msgspec.ValidationError as refused:
            value = self._again(data, refused)
        except UnicodeDecodeError as refused:
            raise self._explain(data, refused) from refused
        except (msgspec.DecodeError, RecursionError) as malformed:
            raise _malformed(malformed) from malformed
        if self._check_ends is not None and b"\\" in data and NEWLINE_AT_END.search(data) is not None:
            self._refuse_ends(value, "#")
        return value if self._plain else self._finish(value)

    def convert(self, value: Any, *, text: bool = False, pointer: str = "#") -> T:
        """Convert parsed JSON, or with `text` the strings of a query, into the type.

        Raises:
            InvalidArgument: With every violation that can be told; pointers start at `pointer`.
        """
        try:
            converted = msgspec.convert(value, self._wire, strict=not text)
        except (msgspec.ValidationError, OverflowError) as refused:
            found = Findings()
            walk(info_of(self._wire), value, pointer, found, text)
            raise InvalidArgument(violations=tuple(found) or (translate(refused, pointer),)) from refused
        if self._check_ends is not None:
            self._refuse_ends(converted, pointer)
        return self._finish(converted, pointer)

    def _again(self, data: bytes | bytearray, refused: msgspec.ValidationError) -> Any:
        """Decode once more with ``3.0`` as the integer that it is in JSON Schema, if that may be what is wrong."""
        if "got `float`" in str(refused):
            try:
                return msgspec.convert(WHOLE.decode(data), self._wire)
            except (msgspec.DecodeError, OverflowError):
                pass  # what is wrong besides is explained as usual
        raise self._explain(data, refused) from refused

    def _finish(self, value: Any, pointer: str = "#") -> T:
        if self._check is not None:
            found: list[Violation] = []
            self._check(value, pointer, found)
            if found:
                raise InvalidArgument(violations=tuple(found))
        return cast(T, patch_of(self._patched, value, pointer) if self._patched else value)

    def _refuse_ends(self, value: Any, pointer: str) -> None:
        found: list[Violation] = []
        if self._check_ends is not None:
            self._check_ends(value, pointer, found)
        if found:
            raise InvalidArgument(violations=tuple(found))

    def _explain(self, data: bytes | bytearray, refused: Exception) -> InvalidArgument:
        try:
            parsed = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
            return _malformed(malformed)
        found = Findings()
        walk(info_of(self._wire), parsed, "#", found, False)
        return InvalidArgument(violations=tuple(found) or (translate(refused, "#"),))


def _malformed(error: BaseException) -> InvalidArgument:
    problem = "nested too deeply" if isinstance(error, RecursionError) else first_line(error)
    return InvalidArgument(detail="The body is not valid JSON.", violations=(Violation(detail=problem),))


def _whole(number: str) -> int | Decimal:
    value = Decimal(number)
    whole = value.adjusted() <= MAX_EXPONENT and value == value.to_integral_value()
    return int(value) if whole else value


MAX_EXPONENT = 18
"""Beyond this a number with an exponent is not written out as an integer."""

WHOLE = msgspec.json.Decoder(float_hook=_whole)


def patched_shape(type: Any) -> Any:
    """Return the shape that ``Patch[Shape]`` is over, or ``None``."""
    return get_args(type)[0] if get_origin(type) is Patch else None
