"""Case: a validated POST without a database. An order of five lines goes in, the same with its totals comes back."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from benchmarks.comparison import Ask, Case, Claim, Contender
from benchmarks.effort import Effort
from benchmarks.server import Request

SEED = 20_260_101
LINES = 5


def body(chance: random.Random) -> dict[str, Any]:
    """Return an order as a client sends it; amounts are in minor units."""
    return {
        "id": str(UUID(int=chance.getrandbits(128), version=4)),
        "customer_id": str(UUID(int=chance.getrandbits(128), version=4)),
        "currency": chance.choice(["EUR", "USD", "SEK"]),
        "ship_to": {
            "name": chance.choice(["Ada Lovelace", "Grace Hopper", "Barbara Liskov", "Søren Ångström"]),
            "street": f"{chance.randint(1, 200)} Main Street",
            "city": chance.choice(["London", "Göteborg", "Zürich", "Boston"]),
            "country": chance.choice(["GB", "SE", "CH", "US"]),
        },
        "lines": [
            {
                "product_id": str(UUID(int=chance.getrandbits(128), version=4)),
                "sku": f"SKU-{chance.randint(0, 99_999):05}",
                "quantity": chance.randint(1, 20),
                "unit_price": chance.randint(100, 100_000),
            }
            for _ in range(LINES)
        ],
    }


def plan(ask: Ask, effort: Effort) -> list[tuple[Request, Any]]:
    """Return orders and their answers, the same for every server."""
    chance = random.Random(SEED)
    requests = [
        Request(method="POST", target="/v1/orders", body=msgspec.json.encode(body(chance)), status=201)
        for _ in range(effort.requests)
    ]
    return [(request, ask(request)) for request in requests]


def private(home: Path) -> Mapping[str, str]:
    """Give Trivet the database that an application with commands has, if only for its outbox."""
    return {"TRIVET_DATABASE__URL": f"sqlite:///{home / 'orders.db'}", "TRIVET_DATABASE__CREATE": "true"}


ORDER = Case(
    name="order",
    title="Validated POST without a database",
    about="`POST /v1/orders`: an order with an address and five lines, about 750 bytes, is decoded and validated "
    "(patterns, lengths, bounds, unknown fields refused), its totals are computed, and it is answered whole. Bare ASGI "
    "with msgspec is the floor: it has no routing to speak of, no errors, no log, no deadline, no request id.",
    contenders=(
        Contender(name="bare", title="bare ASGI + msgspec", app="benchmarks.apps.bare_orders:app"),
        Contender(name="trivet", title="Trivet", app="benchmarks.apps.trivet_orders:app", prepare=private),
        Contender(name="litestar", title="Litestar + msgspec", app="benchmarks.apps.litestar_orders:app"),
        Contender(name="fastapi", title="FastAPI", app="benchmarks.apps.fastapi_orders:app"),
    ),
    plan=plan,
    claims=(
        Claim(
            contender="bare", at_least=0.5, text="A validated POST: bare ASGI + msgspec costs at least half of Trivet"
        ),
    ),
)
