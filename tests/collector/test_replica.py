from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collector import metrics
from collector.event import EventKind
from collector.metrics import Family
from collector.replica import FROZEN_AFTER, ReplicaState, Seen, see_failed_scrape, see_health, see_scrape
from collector.sample import Health, Snapshot

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
BOOT = START - timedelta(days=1)
NEW = ReplicaState(
    replica="vllm-0", url="http://vllm:8000", environment="production", cluster="default", health_since=START, checked_at=START
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def page(seconds: float, running: float = 0, tokens: float = 10, booted: datetime | None = BOOT) -> list[Snapshot]:
    values: dict[Family, float] = {
        metrics.REQUESTS_RUNNING: running,
        metrics.REQUESTS_WAITING: 0,
        metrics.GENERATION_TOKENS: tokens,
        metrics.PROCESS_CPU_SECONDS: seconds,
    }
    return [
        Snapshot(
            scraped_at=at(seconds),
            replica="vllm-0",
            engine="0",
            model="tiny",
            values=values,
            histograms={},
            process_started_at=booted,
        )
    ]


def kinds(seen: Seen) -> list[EventKind]:
    return [event.kind for event in seen.events]


def ready(seconds: float = 0) -> ReplicaState:
    return see_health(NEW, Health.READY, 200, at(seconds)).state


def test_first_answer_is_no_event_and_dates_the_health() -> None:
    seen = see_health(NEW, Health.READY, 200, at(1))
    assert ([], at(1), at(1)) == (kinds(seen), seen.state.health_since, seen.state.ready_at)


def test_engine_that_stops_answering_is_down_once_and_ready_once() -> None:
    down = see_health(ready(), Health.UNREACHABLE, None, at(5))
    still = see_health(down.state, Health.UNREACHABLE, None, at(6))
    back = see_health(still.state, Health.READY, 200, at(30))
    assert [[EventKind.ENGINE_DOWN], [], [EventKind.ENGINE_READY]] == [kinds(down), kinds(still), kinds(back)]
    assert (at(5), at(6), at(0)) == (still.state.health_since, still.state.checked_at, still.state.ready_at)


def test_failed_scrapes_are_one_event_and_so_is_the_recovery() -> None:
    state = see_scrape(ready(), page(1), at(1)).state
    failed = see_failed_scrape(state, "HTTP 502", at(2))
    again = see_failed_scrape(failed.state, "HTTP 502", at(3))
    back = see_scrape(again.state, page(4), at(4))
    assert [[EventKind.SCRAPE_FAILED], [], [EventKind.SCRAPE_RECOVERED]] == [kinds(failed), kinds(again), kinds(back)]
    assert {"reason": "HTTP 502"} == failed.events[0].detail


def test_moved_start_of_the_process_is_a_restart() -> None:
    state = see_scrape(ready(), page(1, tokens=100), at(1)).state
    seen = see_scrape(state, page(2, tokens=0, booted=at(1.5)), at(2))
    assert [EventKind.RESTART] == kinds(seen)


def test_fallen_counter_tells_of_a_restart_where_the_start_is_unknown() -> None:
    state = see_scrape(ready(), page(1, tokens=100, booted=None), at(1)).state
    seen = see_scrape(state, page(2, tokens=3, booted=None), at(2))
    assert [EventKind.COUNTER_RESET] == kinds(seen)
    assert {"counter": "generation_tokens"} == seen.events[0].detail


def test_fallen_counter_of_a_process_that_lives_on_is_a_reset() -> None:
    state = see_scrape(ready(), page(1, tokens=100), at(1)).state
    seen = see_scrape(state, page(2, tokens=3), at(2))
    assert [EventKind.COUNTER_RESET] == kinds(seen)


def test_earlier_process_that_answers_again_means_that_two_answer_and_is_told_once() -> None:
    other = BOOT + timedelta(hours=1)
    state, told = ready(), []
    for number, (booted, tokens) in enumerate([(BOOT, 10), (other, 500), (BOOT, 11), (other, 501), (BOOT, 12)], start=1):
        seen = see_scrape(state, page(15 * number, tokens=tokens, booted=booted), at(15 * number))
        state = seen.state
        told += kinds(seen)
    assert [EventKind.RESTART, EventKind.TWO_PROCESSES] == told


def test_restart_after_two_processes_answered_is_a_restart() -> None:
    state = ready()
    for number, booted in enumerate([BOOT, BOOT + timedelta(hours=1), BOOT], start=1):
        state = see_scrape(state, page(15 * number, booted=booted), at(15 * number)).state
    seen = see_scrape(state, page(60, booted=BOOT + timedelta(hours=2)), at(60))
    assert ([EventKind.RESTART], False) == (kinds(seen), seen.state.two_processes)


def test_engine_whose_health_fails_while_its_page_looks_idle_is_a_zombie() -> None:
    state = see_health(see_scrape(ready(), page(1), at(1)).state, Health.FAILING, 503, at(5)).state
    seen = see_scrape(state, page(6), at(6))
    assert ([EventKind.ZOMBIE], True) == (kinds(seen), seen.state.zombie)
    assert [] == kinds(see_scrape(seen.state, page(7), at(7)))
    assert not see_health(seen.state, Health.UNREACHABLE, None, at(8)).state.zombie


def test_busy_engine_whose_values_stand_still_is_frozen() -> None:
    state, events = ready(), []
    for seconds in range(0, 61, 15):
        seen = see_scrape(state, page(seconds, running=4, tokens=77), at(seconds))
        state = seen.state
        events.append(kinds(seen))
    assert [[], [], [EventKind.GAUGES_FROZEN], [], []] == events
    assert at(0) == state.gauges_frozen_since


def test_refusals_of_the_process_before_it_do_not_thaw_an_engine() -> None:
    state = ready()
    for seconds in range(0, 61, 15):
        snapshots = page(seconds, running=4)
        snapshots = [replace(one, values={**one.values, metrics.ADMISSION_REJECTIONS: float(seconds)}) for one in snapshots]
        state = see_scrape(state, snapshots, at(seconds)).state
    assert at(0) == state.gauges_frozen_since


def test_three_equal_scrapes_within_half_a_minute_are_chance() -> None:
    state = ready()
    for seconds in range(0, 30, 5):
        state = see_scrape(state, page(seconds, running=4), at(seconds)).state
    assert state.gauges_frozen_since is None


def test_models_of_one_engine_are_compared_with_themselves() -> None:
    def both(first: float, second: float) -> list[Snapshot]:
        (one,) = page(1, tokens=first, booted=None)
        (other,) = page(1, tokens=second, booted=None)
        return [one, replace(other, model="large")]

    state = see_scrape(ready(), both(100, 3), at(1)).state
    assert [] == kinds(see_scrape(state, both(100, 4), at(2)))
    assert [EventKind.COUNTER_RESET] == kinds(see_scrape(state, both(1, 4), at(2)))


def test_start_that_was_known_is_forgotten_when_the_next_process_tells_none() -> None:
    state = see_scrape(ready(), page(1, tokens=100), at(1)).state
    seen = see_scrape(state, page(2, tokens=0, booted=None), at(2))
    assert ([EventKind.COUNTER_RESET], None) == (kinds(seen), seen.state.process_started_at)


def test_idle_engine_may_stand_still() -> None:
    state = ready()
    for seconds in range(0, 300, 15):
        state = see_scrape(state, page(seconds, running=0), at(seconds)).state
    assert state.gauges_frozen_since is None


def test_moving_counter_thaws() -> None:
    state = ready()
    for seconds in range(0, 61, 15):
        state = see_scrape(state, page(seconds, running=4), at(seconds)).state
    assert state.gauges_frozen_since is not None
    assert see_scrape(state, page(75, running=4, tokens=11), at(75)).state.gauges_frozen_since is None


_STEP = st.one_of(
    st.tuples(st.just("health"), st.sampled_from([Health.READY, Health.FAILING, Health.UNREACHABLE])),
    st.tuples(st.just("scrape"), st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from([None, BOOT, START]))),
    st.tuples(st.just("fail"), st.none()),
)


@given(st.lists(_STEP, max_size=40))
def test_whatever_happens_events_alternate_and_times_do_not_run_backwards(steps: list[tuple[str, object]]) -> None:
    state, history = NEW, []
    for second, (what, detail) in enumerate(steps):
        if what == "health":
            assert isinstance(detail, Health)
            seen = see_health(state, detail, None, at(second))
        elif what == "scrape":
            assert isinstance(detail, tuple)
            seen = see_scrape(state, page(second, *detail), at(second))
        else:
            seen = see_failed_scrape(state, "refused", at(second))
        history += kinds(seen)
        assert state.health_since <= seen.state.health_since <= seen.state.checked_at
        frozen = seen.state.gauges_frozen_since
        assert frozen is None or at(second) - frozen >= FROZEN_AFTER
        assert not seen.state.zombie or seen.state.health is Health.FAILING
        state = seen.state
    lives = [kind for kind in history if kind in (EventKind.ENGINE_DOWN, EventKind.ENGINE_READY)]
    assert all(before is not after for before, after in pairwise(lives))
    scrapes = [kind for kind in history if kind in (EventKind.SCRAPE_FAILED, EventKind.SCRAPE_RECOVERED)]
    assert all(before is not after for before, after in pairwise(scrapes))
