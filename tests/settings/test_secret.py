"""Addresses show everything but what is secret."""

from __future__ import annotations

import pytest

from trivet.settings import Url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:hush@db/shop", "postgresql://ada:********@db/shop"),
        ("postgresql://ada:hu@sh@db/shop", "postgresql://ada:********@db/shop"),
        ("postgresql://ada:hu/sh@db/shop", "postgresql://ada:********@db/shop"),
        ("redis://:hush@cache:6379/0", "redis://:********@cache:6379/0"),
        ("postgresql://db/shop?user=ada&password=hush&x=1", "postgresql://db/shop?user=ada&password=********&x=1"),
        ("postgresql://db/shop?sslpassword=hush", "postgresql://db/shop?sslpassword=********"),
        ("sqlite:///shop.db", "sqlite:///shop.db"),
        ("postgresql://ada@db:5432/shop", "postgresql://ada@db:5432/shop"),
    ],
)
def test_a_password_is_never_shown_however_it_is_written(url: str, shown: str) -> None:
    assert Url(url).shown == shown
    assert "hu" not in repr(Url(url)).replace("postgresql", "")
    assert Url(url).reveal() == url
