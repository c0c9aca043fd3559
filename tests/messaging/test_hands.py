"""How due deliveries are dealt out: what must hold for any of them."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from trivet.messaging.hands import MOST, Near, Pace, Sharing, deal, next_size

rows = st.lists(
    st.builds(
        lambda subscriber, queue, attempts: (subscriber, queue, attempts),
        st.sampled_from("AB"),
        st.sampled_from("xyz"),
        st.sampled_from((0, 0, 0, 2)),
    ),
    max_size=30,
)
sizes = st.fixed_dictionaries({"A": st.integers(1, 5), "B": st.integers(1, 5)})


@given(rows=rows, sizes=sizes, hands=st.integers(1, 6))
def test_each_hand_is_of_one_subscriber_and_each_queue_in_one_hand(
    rows: list[tuple[str, str, int]], sizes: dict[str, int], hands: int
) -> None:
    near = [Near(id=-n, subscriber=who, queue=what, attempts=tried) for n, (who, what, tried) in enumerate(rows)]
    dealt = deal(near, hands, sizes.__getitem__)
    assert len(dealt) <= hands
    assert all(dealt), "no hand is empty"
    holders = defaultdict(set)
    for number, hand in enumerate(dealt):
        [subscriber] = {each.subscriber for each in hand}
        assert len(hand) <= sizes[subscriber]
        assert len(hand) == 1 or not any(each.attempts for each in hand), "what was tried before is alone"
        for each in hand:
            holders[each.subscriber, each.queue].add(number)
    assert all(len(numbers) == 1 for numbers in holders.values())
    if near:
        longest = (near[0].subscriber, near[0].queue)
        assert dealt[0][0] == min((n for n in near if (n.subscriber, n.queue) == longest), key=lambda n: n.id)


@given(rows=rows, sizes=sizes)
def test_of_a_queue_that_was_not_tried_no_delivery_is_left_out_before_one_that_is_dealt(
    rows: list[tuple[str, str, int]], sizes: dict[str, int]
) -> None:
    near = [Near(id=n, subscriber=who, queue=what, attempts=0) for n, (who, what, _) in enumerate(rows)]
    dealt = {each.id for hand in deal(near, 3, sizes.__getitem__) for each in hand}
    of_queue: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for each in near:
        of_queue[each.subscriber, each.queue].append(each.id in dealt)
    for taken in of_queue.values():
        assert taken == sorted(taken, reverse=True), "those that are dealt are the first ones"


@given(size=st.integers(1, MOST), seconds=st.floats(0, 20), most=st.integers(1, MOST))
def test_as_many_share_a_transaction_as_fit_into_its_time(size: int, seconds: float, most: int) -> None:
    sharing = Sharing(most=most, seconds=0.1)
    found = next_size(size, seconds, sharing)
    assert 1 <= found <= min(2 * size, most)
    assert found == 1 or found * seconds <= sharing.seconds


def test_a_quick_handler_comes_to_share_and_one_that_goes_outside_never_does() -> None:
    pace = Pace(Sharing(most=20))
    for _ in range(6):
        pace.handled("quick", 1, 0.001)
        pace.handled("slow", 1, 0.3)
    assert (pace.size("quick"), pace.size("slow"), pace.largest) == (20, 1, 20)
    pace.apart("quick")
    assert pace.size("quick") == 1
    pace.single("quick")
    pace.handled("quick", 1, 0.001)
    assert pace.size("quick") == 1
