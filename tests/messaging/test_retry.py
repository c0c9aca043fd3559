"""What follows a failure, and when to look again."""

from hypothesis import given
from hypothesis import strategies as st

from trivet.core.backoff import longest_pause
from trivet.messaging.retry import Again, GiveUp, RetryPolicy, after_failure, idle

chances = st.floats(0, 1, exclude_max=True)
policies = st.builds(
    RetryPolicy,
    attempts_max=st.integers(1, 100),
    first=st.floats(0.001, 10),
    longest=st.floats(10, 10_000),
    contended=st.floats(0.001, 10),
)


@given(policies, st.integers(1, 10_000), chances)
def test_a_failure_is_tried_again_until_the_last_attempt(policy: RetryPolicy, attempts: int, chance: float) -> None:
    decision = after_failure(policy, attempts, False, chance)
    if attempts >= policy.attempts_max:
        assert decision == GiveUp()
    else:
        assert isinstance(decision, Again)
        assert decision.counts
        assert 0 <= decision.pause <= policy.longest


@given(policies, st.integers(1, 10_000), chances)
def test_contention_never_makes_a_dead_letter(policy: RetryPolicy, attempts: int, chance: float) -> None:
    decision = after_failure(policy, attempts, True, chance)
    assert isinstance(decision, Again)
    assert not decision.counts
    assert 0 <= decision.pause <= policy.contended


@given(policies, st.integers(1, 10_000))
def test_the_bound_of_the_pause_never_shrinks(policy: RetryPolicy, attempts: int) -> None:
    bounds = [longest_pause(after, policy.first, policy.longest) for after in (attempts, attempts + 1)]
    assert bounds[0] <= bounds[1] <= policy.longest


def test_pauses_grow_from_one_second_to_five_minutes() -> None:
    bounds = [longest_pause(attempts, RetryPolicy().first, RetryPolicy().longest) for attempts in range(1, 12)]
    assert bounds == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(st.floats(0, 1e9), st.none() | st.floats(0, 1e9), st.floats(0.01, 60), chances)
def test_it_looks_again_within_a_poll_and_not_before_anything_is_due(
    now: float, due: float | None, poll: float, chance: float
) -> None:
    pause = idle(now, due, poll, chance)
    assert 0 <= pause <= poll
    if due is None:
        assert pause >= poll * 0.75
    elif due > now:
        assert pause <= due - now
