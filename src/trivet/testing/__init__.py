"""Testing an app: in process, through all of its policies; a context for one handler; a real server.

Nothing here is a mock. `Client` speaks ASGI to the app, `context` opens a real unit of work on a temporary database,
`serve` starts the real server on a free port.
"""

from trivet.testing.agreement import Agreement, Disagreement, assert_protocols_agree
from trivet.testing.app import settings_for_tests
from trivet.testing.asgi import Response
from trivet.testing.client import Client
from trivet.testing.context import context
from trivet.testing.principal import principal
from trivet.testing.server import Served, serve

__all__ = [
    "Agreement",
    "Client",
    "Disagreement",
    "Response",
    "Served",
    "assert_protocols_agree",
    "context",
    "principal",
    "serve",
    "settings_for_tests",
]
