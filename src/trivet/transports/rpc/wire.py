"""Codecs of protobuf's binary format, generated once for each message.

The plain values are those of `msgspec.to_builtins` and `msgspec.convert`: msgspec turns shapes into them and checks
what comes in, so that every protocol has one validation. What handlers return is written without them where it can be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from trivet.contracts.proto.message import Message
from trivet.core.error import InvalidArgument, Violation
from trivet.transports.rpc.decoders import Decoders
from trivet.transports.rpc.encoders import Encoders
from trivet.transports.rpc.pieces import MAX_DEPTH, Malformed
from trivet.transports.rpc.results import Results

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


class Wire:
    """Makes codecs, each at its first use.

    Args:
        strict: Whether a field that is not known is refused, or else passed over.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self._decoders = Decoders(strict=strict)
        self._encoders = Encoders()
        self._results = Results(self._encoders)

    def decoder(self, message: Message) -> Decode:
        """Return what reads a message into plain values.

        The decoder raises `InvalidArgument` for whatever is no such message.
        """
        function = self._decoders.function(message)
        more = (MAX_DEPTH,) if self._decoders.recursive(message) else ()

        def decode(data: bytes) -> Any:
            try:
                return function(data, 0, len(data), *more)
            except Malformed as malformed:
                raise malformed_message(str(malformed)) from malformed
            except UnicodeDecodeError as malformed:
                raise malformed_message("a text is not UTF-8") from malformed
            except (IndexError, struct.error) as malformed:
                raise malformed_message("it ends in the middle of a field") from malformed

        return decode

    def encoder(self, message: Message) -> Encode:
        """Return what writes plain values as a message."""
        encode: Encode = self._encoders.function(message)
        return encode

    def result_encoder(self, message: Message) -> Encode:
        """Return what writes as a message what a handler returned."""
        return self._results.encoder(message)


def malformed_message(problem: str) -> InvalidArgument:
    """Return the refusal of bytes that are not the message they should be."""
    return InvalidArgument(detail="The message is not valid protobuf.", violations=(Violation(detail=problem),))
