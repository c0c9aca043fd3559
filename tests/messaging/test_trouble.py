"""A loop says once what keeps troubling it."""

from __future__ import annotations

import asyncio

import pytest

from trivet.messaging.trouble import Trouble


def test_trouble_is_told_once_while_it_stays_the_same_and_again_after_a_turn_without() -> None:
    told: list[str] = []
    trouble = Trouble(lambda error: told.append(str(error)))
    for turn in ("full", "full", "slow", "full", None, "full"):
        with trouble:
            if turn is not None:
                raise OSError(turn)
    assert told == ["full", "slow", "full", "full"]


def test_the_same_words_of_another_kind_of_exception_are_other_trouble() -> None:
    told: list[Exception] = []
    trouble = Trouble(told.append)
    for error in (OSError("full"), ValueError("full")):
        with trouble:
            raise error
    assert [type(error) for error in told] == [OSError, ValueError]


def test_cancellation_is_no_trouble() -> None:
    told: list[Exception] = []
    with pytest.raises(asyncio.CancelledError), Trouble(told.append):
        raise asyncio.CancelledError
    assert told == []
