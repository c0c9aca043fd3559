"""How messages and dead letters are printed, and the options that commands share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from trivet.messaging.dead import DeadLetter
    from trivet.messaging.message import Message
    from trivet.messaging.stored import Stored

LIMIT_MAX = 1000

limit_option = click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=20, show_default=True, help="How many at most."
)
type_option = click.option("--type", "type", metavar="TYPE", help="Only of one type, such as orders.OrderPlaced.")
handler_option = click.option("--handler", metavar="NAME", help="Only of one handler, such as orders.charge_order.")
about_option = click.option("--about", metavar="ID", help="Only about one thing, such as an order's id.")


def document(node: str | None, stored: Stored, *, payload: bool = False) -> Mapping[str, Any]:
    """Return a message as JSON has it; with its node where there are several."""
    message = stored.message
    more = {"payload": msgspec.Raw(message.payload)} if payload else {}
    where = {"node": node} if node is not None else {}
    return {**where, "position": stored.position, **_head(message), "deliveries": stored.deliveries, **more}


def letter(node: str | None, letter: DeadLetter) -> Mapping[str, Any]:
    """Return a dead letter as JSON has it; with its node where there are several."""
    where = {"node": node} if node is not None else {}
    return {
        **where,
        "id": letter.id,
        "handler": letter.subscriber,
        "attempts": letter.attempts,
        "error": letter.error,
        "time": letter.time,
        "message": {
            "position": letter.position,
            **_head(letter.message),
            "payload": msgspec.Raw(letter.message.payload),
        },
    }


def _head(message: Message) -> Mapping[str, Any]:
    return {
        "id": message.id,
        "kind": message.kind,
        "type": message.type,
        "about": message.aggregate or None,
        "time": message.create_time,
        "tenant": message.tenant,
        "principal": message.principal.subject if message.principal else None,
        "request_id": message.request_id or None,
        "trace": message.trace,
    }


def left(stored: Stored) -> str:
    """Return the deliveries that are left: each handler, how far it is, and after how many attempts."""
    shown = [
        f"{each.subscriber} {each.state.value}" + (f" ({each.attempts})" if each.attempts else "")
        for each in stored.deliveries
    ]
    return ", ".join(shown) or "-"


def time(instant: datetime) -> str:
    """Return an instant, to the second."""
    return instant.strftime("%Y-%m-%d %H:%M:%SZ")


def age(now: datetime, then: datetime) -> str:
    """Return how long ago something was, in the largest units that say it."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
