"""What a request may be aimed at, the same whatever serves: its target and its host.

A target is visible ASCII whose percent-encoding is of UTF-8.

Nothing is normalised: encoded slashes, dots and double slashes reach the application as they were sent, in
``raw_path``, on which routes are matched. But ``path`` is that same path decoded, and where it can not be decoded one
server would hang and another would make something up, so such a request is refused.
"""

from __future__ import annotations

import re

HEX = "[0-9A-Fa-f]"
MORE = f"%[89ABab]{HEX}"
"""A byte that continues a character."""

CHARACTERS = (
    """[!-"$&->@-~]""",  # any visible character, but no "#", "%" and "?"
    f"%[0-7]{HEX}",
    f"%(?:[Cc][2-9A-Fa-f]|[Dd]{HEX}){MORE}",
    f"%[Ee]0%[ABab]{HEX}{MORE}",  # no shorter form exists
    f"%[Ee](?:[1-9A-Ca-c]|[EFef]){MORE}{MORE}",
    f"%[Ee][Dd]%[89]{HEX}{MORE}",  # no half of a surrogate pair
    f"%[Ff]0%[9ABab]{HEX}{MORE}{MORE}",
    f"%[Ff][1-3]{MORE}{MORE}{MORE}",
    f"%[Ff]4%8{HEX}{MORE}{MORE}",  # Unicode ends at U+10FFFF
)
"""The ways to write one character (RFC 3629 section 4, percent-encoded)."""

PATTERN = rf"""(?:{"|".join(CHARACTERS)})*(?:\?[!-"$-~]*)?"""
"""A whole target, also for engines without look-around, such as Envoy's RE2."""

VALID = re.compile(PATTERN.encode())

HOST_PATTERN = r"(?:\[[0-9A-Fa-f:.v]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(?::[0-9]*)?"
"""A host and a port (RFC 3986 section 3.2.2), without the comma that would join two fields into one."""

VALID_HOST = re.compile(HOST_PATTERN.encode())

ABSOLUTE = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)


def is_valid(target: bytes) -> bool:
    """Whether a target, path and query as sent, can be served."""
    return VALID.fullmatch(target) is not None


def is_host(field: bytes) -> bool:
    """Whether the value of a ``Host`` field names a host."""
    return VALID_HOST.fullmatch(field) is not None


def authority_of(target: bytes) -> bytes | None:
    """Return the host of a target in absolute form, which counts in place of the field (RFC 9112 section 3.2.2)."""
    absolute = ABSOLUTE.match(target)
    return absolute[1] if absolute else None
