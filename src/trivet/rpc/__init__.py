"""Calling the operations of another process as if they were in this one: over Connect or gRPC, typed by the operation.

It needs ``pip install 'trivet[client]'``, which brings the HTTP client.
"""

from trivet.rpc.client import Client
from trivet.rpc.errors import AnswerUnreadable, ConnectionLost, Unreachable
from trivet.rpc.http import Tls
from trivet.rpc.incoming import Incoming
from trivet.rpc.service import Service

__all__ = ["AnswerUnreadable", "Client", "ConnectionLost", "Incoming", "Service", "Tls", "Unreachable"]
