"""``trivet events``: what is stored for delivery, what became of it, and dead letters tried again."""

from __future__ import annotations

import click

from trivet.cli.events.letters import dead, replay
from trivet.cli.events.messages import list_, show, tail
from trivet.cli.events.status import status


@click.group()
def command() -> None:
    """Look at events and requests for later, and try again what failed.

    The database is the one that the settings name (DATABASE_URL); where tables are sharded, all of them. Then a number
    has its node before it, such as home/12. Nothing but `replay` changes anything.

    \b
    Examples:
      trivet events status shop.app:app           what each handler has before it
      trivet events list shop.app:app --pending   messages that somebody has not handled
      trivet events dead shop.app:app             what failed too often, and why
      trivet events replay shop.app:app --all     when the cause is mended
      trivet events tail shop.app:app             follow what is committed
    """


for each in (status, list_, show, dead, replay, tail):
    command.add_command(each)
