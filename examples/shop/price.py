"""Amounts of money that are never below zero."""

from __future__ import annotations

from typing import Annotated

from trivet import InvalidArgument, Meta, Money, Violation

Price = Annotated[
    Money,
    Meta(
        description="Not below zero",
        extra_json_schema={
            "type": "object",
            "properties": {
                "amount": {
                    "anyOf": [
                        {"type": "string", "pattern": "^[0-9]", "maxLength": 20},
                        {"type": "number", "format": "decimal", "minimum": 0},
                    ]
                }
            },
        },
    ),
]
"""Money as a price. The schema tells clients; `check_price` holds it, because a patch may change the amount alone."""


def check_price(price: Money, pointer: str) -> None:
    """Refuse an amount below zero.

    Args:
        price: The amount.
        pointer: Where the caller wrote it.

    Raises:
        InvalidArgument: It is.
    """
    if price.amount < 0:
        raise InvalidArgument(violations=(Violation(detail="must not be negative", pointer=f"{pointer}/amount"),))
