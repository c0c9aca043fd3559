"""Who buys. Other modules import this package, never a module inside it."""

from __future__ import annotations

from shop.customers.model import Address, Customer, CustomerId, CustomerUnknown, EmailTaken, NewCustomer, Subject
from shop.customers.module import customers
from shop.customers.operations import (
    create_customer,
    get_customer,
    get_customers,
    get_spending_limit,
    limit_customer,
    list_customers,
    update_customer,
)

__all__ = [
    "Address",
    "Customer",
    "CustomerId",
    "CustomerUnknown",
    "EmailTaken",
    "NewCustomer",
    "Subject",
    "create_customer",
    "customers",
    "get_customer",
    "get_customers",
    "get_spending_limit",
    "limit_customer",
    "list_customers",
    "update_customer",
]
