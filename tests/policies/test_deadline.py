"""What callers may say about time."""

from __future__ import annotations

import pytest

from trivet.policies.deadline import allowed, connect_seconds_of, grpc_seconds_of, seconds_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1", 1.0),
        (b"0.25", 0.25),
        (b"0", None),
        (b"-1", None),
        (b"1e3", None),
        (b"inf", None),
        (b"", None),
        (b" 1", None),
    ],
)
def test_request_timeout_is_decimal_seconds(value: bytes, seconds: float | None) -> None:
    assert seconds_of(value) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1S", 1.0),
        (b"250m", 0.25),
        (b"2M", 120.0),
        (b"1H", 3600.0),
        (b"100u", 1e-4),
        (b"123456789S", None),
        (b"1s", None),
    ],
)
def test_grpc_timeout_is_digits_and_a_unit(value: bytes, seconds: float | None) -> None:
    assert grpc_seconds_of(value) == pytest.approx(seconds) if seconds else grpc_seconds_of(value) is None


def test_connect_timeout_is_milliseconds() -> None:
    assert connect_seconds_of(b"1500") == 1.5
    assert connect_seconds_of(b"12345678901") is None


def test_a_caller_shortens_and_never_lengthens_past_the_maximum() -> None:
    assert allowed(5, 30, None) == 5
    assert allowed(5, 30, 1) == 1
    assert allowed(5, 30, 20) == 20
    assert allowed(5, 30, 90) == 30
    assert allowed(5, 5, 90) == 5
