"""Messages in envelopes, as gRPC, gRPC-Web and Connect's streams have them: flags, length, message."""

from __future__ import annotations

import struct
import zlib

from trivet.contracts.problem import BodyTooLarge
from trivet.core.error import Internal, InvalidArgument, Unimplemented, Violation

COMPRESSED = 1
CONNECT_END = 2
WEB_TRAILERS = 128
HEAD_BYTES = 5

COMPRESS_FROM_BYTES = 4096
"""Smaller messages are sent as they are: compressing costs more than it saves."""

head = struct.Struct(">BI").pack
read_head = struct.Struct(">BI").unpack_from

GZIP = 16 + zlib.MAX_WBITS


class EncodingUnknown(Unimplemented):
    """The message is compressed in a way that is not understood here; gzip is."""

    accepted: tuple[str, ...] = ("gzip", "identity")


class OneMessageExpected(Unimplemented):
    """This method takes exactly one message."""


class CompressionUnannounced(Internal):
    """The message is compressed, but the head of the request names no compression.

    The code is the one that gRPC wants for it.
    """


def enveloped(message: bytes, flags: int = 0) -> bytes:
    """Return a message in its envelope."""
    return head(flags, len(message)) + message


def item(message: bytes, gzip: bool) -> bytes:
    """Return one of several messages in its envelope, compressed where its reader takes that and it is large."""
    if gzip and len(message) >= COMPRESS_FROM_BYTES:
        return enveloped(deflated(message), COMPRESSED)
    return enveloped(message)


def opened(content: bytes, limit: int, gzip: bool) -> bytes:
    """Return the one message in a request's content.

    Args:
        content: Everything that came.
        limit: Bytes that the message may have, decompressed.
        gzip: Whether the head of the request announced gzip.

    Raises:
        OneMessageExpected: There is none, or more than one.
        BodyTooLarge: It is larger than `limit`.
        CompressionUnannounced: It is compressed without a word.
        InvalidArgument: The envelope is broken.
    """
    if not content:
        raise OneMessageExpected(detail="The request has no message.")
    if len(content) < HEAD_BYTES:
        raise broken("the envelope ends in its head")
    flags, size = read_head(content)
    if size > limit:
        raise BodyTooLarge(limit=limit)
    end = HEAD_BYTES + size
    if end > len(content):
        raise broken("the message is shorter than its envelope says")
    if end < len(content):
        raise OneMessageExpected(detail="The request has more than one message.")
    return plain(flags, content[HEAD_BYTES:], limit, gzip)


class Envelopes:
    """Takes a body apart into messages; a `Split`.

    Args:
        limit: Bytes that a message may have, decompressed.
        gzip: Whether the head of the request announced gzip.
    """

    __slots__ = ("_at", "_data", "_ended", "_gzip", "_limit")

    def __init__(self, limit: int, gzip: bool) -> None:
        self._limit = limit
        self._gzip = gzip
        self._data = bytearray()
        self._at = 0
        self._ended = False

    def feed(self, piece: bytes) -> None:
        """Add what came."""
        del self._data[: self._at]
        self._data += piece
        self._at = 0

    def end(self) -> None:
        """Note that nothing more comes."""
        self._ended = True

    def take(self) -> bytes | None:
        """Return the next message, ``None`` where it is not there yet.

        Raises:
            BodyTooLarge: It is larger than `limit`.
            CompressionUnannounced: It is compressed without a word.
            InvalidArgument: The envelope is broken, or the last one cut.
        """
        data, start = self._data, self._at + HEAD_BYTES
        if len(data) < start:
            if self._ended and len(data) > self._at:
                raise broken("the envelope ends in its head")
            return None
        flags, size = read_head(data, self._at)
        if size > self._limit:
            raise BodyTooLarge(limit=self._limit)
        end = start + size
        if len(data) < end:
            if self._ended:
                raise broken("the message is shorter than its envelope says")
            return None
        self._at = end
        return plain(flags, bytes(memoryview(data)[start:end]), self._limit, self._gzip)


def plain(flags: int, message: bytes, limit: int, gzip: bool) -> bytes:
    """Return a message as its flags say: as it is, or without its gzip."""
    if flags & ~COMPRESSED:
        raise broken(f"the envelope has unknown flags: {flags:#04x}")
    if not flags:
        return message
    if not gzip:
        raise CompressionUnannounced
    return inflated(message, limit)


def broken(problem: str) -> InvalidArgument:
    """Return the refusal of content that is no envelope."""
    return InvalidArgument(detail="The envelope can not be read.", violations=(Violation(detail=problem),))


def inflated(data: bytes, limit: int) -> bytes:
    """Return data without its gzip; never more than one byte over the limit is made of it.

    Raises:
        BodyTooLarge: It is larger than `limit`.
        InvalidArgument: It is no gzip.
    """
    inflate = zlib.decompressobj(GZIP)
    try:
        plain = inflate.decompress(data, limit + 1)
    except zlib.error as malformed:
        raise broken("the message is not gzip") from malformed
    if len(plain) > limit:
        raise BodyTooLarge(limit=limit)
    if not inflate.eof or inflate.unused_data:
        raise broken("the message is not one gzip stream")
    return plain


def deflated(data: bytes) -> bytes:
    """Return data as gzip, as fast as it goes."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    return deflate.compress(data) + deflate.flush()


def announced(coding: bytes | None) -> bool:
    """Whether the head of a request announced gzip.

    Raises:
        EncodingUnknown: It announced something else.
    """
    if coding in (None, b"identity", b"gzip"):
        return coding == b"gzip"
    raise EncodingUnknown(detail=f"{(coding or b'').decode('latin-1')} is not understood here; gzip is.")


def accepts_gzip(given: bytes | None) -> bool:
    """Whether a list of codings names gzip, not as the one that is refused."""
    if given is None or b"gzip" not in given:
        return False
    for each in given.split(b","):
        name, _, quality = each.partition(b";")
        if name.strip().lower() == b"gzip":
            return quality.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False
