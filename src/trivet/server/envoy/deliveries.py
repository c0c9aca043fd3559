"""What Envoy still holds of answers that the application has finished.

The kernel knows what it was given to send. What waits in Envoy, only Envoy's administration tells:

    HTTP/1.1   bytes for which the socket has no room
    HTTP/2     requests, until the client let all of the answer go out
    HTTP/3     requests, until the client has acknowledged all of the answer

While Envoy drains, each question costs one of the connections that are kept for the end. So it is asked a few times
only, with pauses that double.
"""

from __future__ import annotations

import time

from trivet.server.envoy.admin import Admin, AdminGone
from trivet.server.envoy.http import ARRIVED, STATISTICS
from trivet.telemetry.log import Logger

ACTIVE, BUFFERED, HTTP3 = "downstream_rq_active", "downstream_cx_tx_bytes_buffered", "downstream_rq_http3_total"
HELD = rf"/stats?filter=^{STATISTICS}\.({ACTIVE}|{BUFFERED}|{HTTP3}|{ARRIVED})$"

QUESTIONS = 10
FIRST_SECONDS = 0.05


class Deliveries:
    """Watches at the end what Envoy delivers.

    Args:
        admin: Envoy's administration.
        log: Where it is written that Envoy does not tell; then it is taken to hold nothing.
        timeout: For how long it is waited for, in seconds.
    """

    def __init__(self, admin: Admin, log: Logger, timeout: float) -> None:
        self._admin = admin
        self._log = log
        self._pause = timeout / 2**QUESTIONS
        self._next = 0.0

    async def done(self) -> bool:
        """Whether Envoy holds nothing; not known to be so while it is too early to ask again."""
        now = time.monotonic()
        if now < self._next:
            return False
        if not await self.held():
            return True
        self._pause *= 2
        self._next = now + max(self._pause, FIRST_SECONDS)
        return False

    async def held(self) -> int:
        """Ask how many answers Envoy holds; bytes that wait for sockets are taken for one."""
        try:
            told = dict(line.split(": ") for line in (await self._admin.ask(HELD)).splitlines())
        except AdminGone as gone:
            self._log.error(f"Envoy does not tell which answers it has yet to send: {gone}")
            return 0
        active, buffered, begun, arrived = (
            int(told.get(f"{STATISTICS}.{name}", 0)) for name in (ACTIVE, BUFFERED, HTTP3, ARRIVED)
        )
        return max(active, begun - arrived, min(buffered, 1))
