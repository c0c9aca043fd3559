"""Requests without TLS: to read all authorities of the system for nothing takes longer than a request."""

from __future__ import annotations

import ssl

import httpx2

UNUSED = ssl.create_default_context()
PATIENCE_SECONDS = 60


def get(url: str) -> httpx2.Response:
    """Return the answer on a connection of its own."""
    return httpx2.get(url, verify=UNUSED, timeout=PATIENCE_SECONDS)


def client() -> httpx2.AsyncClient:
    """Return a client that has no connection yet."""
    return httpx2.AsyncClient(verify=UNUSED, timeout=PATIENCE_SECONDS)
