"""What a caller has seen never becomes less, whatever its calls did and in whichever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trivet.core.consistency import FARTHEST, Mark, Marks, Witness, joined

MARKS = st.builds(
    Mark,
    database=st.just(1),
    timeline=st.integers(1, 3),
    position=st.integers(0, 5),
    node=st.sampled_from([0, 0, 7, 8]),
)


def covers(mark: Mark, seen: Mark) -> bool:
    """Whether who reads from `mark` on sees at least what was seen, as far as marks can tell."""
    if mark.timeline != seen.timeline:
        return mark.timeline > seen.timeline
    return mark.position >= seen.position and (mark.node == seen.node or mark.position == FARTHEST)


@given(MARKS, MARKS)
def test_a_joined_mark_covers_both(one: Mark, other: Mark) -> None:
    mark = joined(one, other)
    assert covers(mark, one)
    assert covers(mark, other)
    assert mark == joined(other, one)


def test_one_work_after_the_other_replaces_what_was_known() -> None:
    witness = Witness((Mark(database=1, timeline=1, position=5, node=7),), keeps=True)
    later = Mark(database=1, timeline=1, position=9)
    witness.see((later,), witness.marks, wrote=True)
    assert (witness.marks, witness.wrote) == ((later,), True)


def test_works_side_by_side_are_joined() -> None:
    start: Marks = (Mark(database=1, timeline=1, position=5),)
    witness = Witness(start, keeps=True)
    witness.see((Mark(database=1, timeline=1, position=5, node=7),), start, wrote=False)
    witness.see((Mark(database=1, timeline=1, position=6, node=8),), start, wrote=False)
    assert witness.marks == (Mark(database=1, timeline=1, position=FARTHEST),)


def test_databases_are_told_apart() -> None:
    start: Marks = (Mark(database=1, timeline=1, position=5),)
    witness = Witness(start, keeps=True)
    witness.see((Mark(database=2, timeline=4, position=1),), start, wrote=True)
    assert witness.marks == (*start, Mark(database=2, timeline=4, position=1))


def test_a_work_that_saw_nothing_changes_nothing() -> None:
    witness = Witness(None, keeps=False)
    witness.see((), None, wrote=True)
    assert (witness.marks, witness.wrote) == (None, False)
