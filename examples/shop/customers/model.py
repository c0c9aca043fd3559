"""Customers as plain data."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, NewType
from uuid import UUID

from trivet import AlreadyExists, Meta, Money, NotFound, Struct

CustomerId = NewType("CustomerId", UUID)
Subject = Annotated[str, Meta(max_length=255, description="The subject of the credential that the customer uses")]
Name = Annotated[str, Meta(min_length=1, max_length=120, examples=["Amir Wagner"])]
Email = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,4}$",
        min_length=6,
        max_length=254,
        examples=["amir.wagner@example.com"],
    ),
]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", min_length=2, max_length=2, description="ISO 3166-1 alpha-2 code")]


class Address(Struct):
    """Where parcels go."""

    street: Annotated[str, Meta(min_length=1, max_length=120)]
    postal_code: Annotated[str, Meta(min_length=1, max_length=12)]
    city: Annotated[str, Meta(min_length=1, max_length=80)]
    country: Country


DEFAULT_LIMIT = Money(amount=Decimal("1000.00"), currency="EUR")
"""The most that one order of a new customer may cost."""


class NewCustomer(Struct):
    """What a client says about a customer."""

    name: Name
    email: Email
    address: Address
    owner: Subject = ""


class Customer(Struct):
    """Somebody who buys in the shop."""

    id: CustomerId
    owner: Subject
    name: Name
    email: Email
    address: Address
    spending_limit: Annotated[Money, Meta(description="The most that one order may cost")]
    version: int
    create_time: datetime
    update_time: datetime


class EmailTaken(AlreadyExists):
    """A customer with this email address exists already."""

    email: Email


class CustomerUnknown(NotFound):
    """There is no such customer, or it is not the caller's to know."""

    customer_id: CustomerId
