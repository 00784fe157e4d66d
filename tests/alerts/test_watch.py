from __future__ import annotations

from datetime import UTC, datetime

from alerts.alert import Alert, Condition, Observation, Severity, State, advance
from alerts.burn import HOLD_SECONDS, Tally
from alerts.detect import MONTH_SECONDS, Past
from alerts.finding import Harm
from alerts.slo import Slo, parse_slos
from alerts.watch import Pulse, Stream, Watch
from collector.config import Config, Model
from collector.request import ObservedBy

START = 1_700_000_000
CONFIG = Config(cluster="c1", environment="production", models={"big": Model(page_failures=50)})
SLOS = """
slos:
  - {name: availability, sli: availability, target: 99.5, description: Requests are served.}
  - {name: strict, sli: availability, target: 99.9}
  - {name: ttft, sli: ttft, threshold: 2, target: 99, group_by: [tenant, model, environment]}
"""


def slos() -> tuple[Slo, ...]:
    return parse_slos(SLOS, "slos.yaml", ObservedBy.GATEWAY)


def watch_of(*streams: Stream) -> Watch:
    watch = Watch(slos(), CONFIG, START)
    watch.set_streams(streams)
    return watch


def availability(id: int = 7, model: str = "llama") -> Stream:
    return Stream(id, slos()[0].objective.id, {"model": model})


def moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def condition(watch: Watch, alert: Alert | None = None, *, blind: bool = False) -> Condition:
    return watch.observe(watch.series[0], alert, blind=blind).condition


def outage(seconds: int = 60, per_second: int = 5, *, until: int = START) -> list[Pulse]:
    return [Pulse(7, second, 0, per_second) for second in range(until - seconds + 1, until + 1)]


def service(seconds: int, per_second: int = 5, *, until: int = START) -> list[Pulse]:
    return [Pulse(7, second, per_second, 0) for second in range(until - seconds + 1, until + 1)]


def firing() -> Alert:
    return Alert(labels={"alertname": "SLOBurn"}, since=moment(START), state=State.FIRING, starts_at=moment(START))


def test_slos_of_one_objective_share_its_streams_and_have_alerts_of_their_own() -> None:
    watch = watch_of(availability())

    assert ["availability", "strict"] == [series.slo.name for series in watch.series]
    assert 2 == len({series.fingerprint for series in watch.series})
    assert {
        "alertname": "SLOBurn",
        "slo": "availability",
        "sli": "availability",
        "cluster": "c1",
        "environment": "production",
        "model": "llama",
    } == watch.series[0].labels


def test_the_environment_of_a_stream_wins_over_the_configured_one() -> None:
    labels = {"tenant": "acme", "model": "llama", "environment": "staging"}
    watch = watch_of(Stream(1, slos()[2].objective.id, labels))

    assert labels == {name: watch.series[0].labels[name] for name in labels}


def test_an_outage_is_a_breach_and_service_is_clear() -> None:
    failing, serving = watch_of(availability()), watch_of(availability())
    failing.count(outage())
    serving.count(service(60))

    assert [Condition.BREACH, Condition.CLEAR] == [condition(failing), condition(serving)]


def test_a_stream_of_nobody_counts_nothing() -> None:
    watch = watch_of(availability())
    watch.count([Pulse(99, START, 0, 1000)])

    assert Condition.CLEAR is condition(watch)


def test_without_a_collector_counts_prove_a_breach_and_nothing_else() -> None:
    failing, serving, recovering = (watch_of(availability()) for _ in range(3))
    failing.count(outage())
    serving.count(service(60))
    recovering.count(outage(until=START - 20) + service(20))

    assert Condition.BREACH is condition(failing, blind=True)
    assert Condition.NO_DATA is condition(serving, blind=True)
    assert Condition.NO_DATA is condition(recovering, firing(), blind=True)


def test_a_firing_alert_recovers_while_its_windows_still_hold_the_outage() -> None:
    watch = watch_of(availability())
    watch.count(outage(until=START - 20) + service(20))

    assert [Condition.BREACH, Condition.CLEAR] == [condition(watch), condition(watch, firing())]


def test_what_was_resolved_does_not_fire_again_and_a_new_outage_does() -> None:
    watch = watch_of(availability())
    watch.count(service(3000, until=START - 300) + outage(300))
    alert = advance(Alert(labels=watch.series[0].labels, since=moment(START)), _seen(watch, None), moment(START)).alert
    second = START
    while alert.state is not State.RESOLVED:
        second += 1
        watch.count([Pulse(7, second, 5, 0)])
        watch.advance(second)
        alert = advance(alert, _seen(watch, alert), moment(second)).alert
    resolved_after = second - START

    for _ in range(300):
        second += 1
        watch.count([Pulse(7, second, 5, 0)])
        watch.advance(second)
        assert Condition.CLEAR is condition(watch, alert)
    for _ in range(250):
        second += 1
        watch.count([Pulse(7, second, 0, 5)])
        watch.advance(second)
        alert = advance(alert, _seen(watch, alert), moment(second)).alert

    # 14 seconds until a burn of 14.4 is ruled out at 100 to 1, and the time for which that must hold.
    assert HOLD_SECONDS + 14 == resolved_after
    assert (State.FIRING, moment(START), 1) == (alert.state, alert.starts_at, alert.revision)


def _seen(watch: Watch, alert: Alert | None) -> Observation:
    return watch.observe(watch.series[0], alert, blind=False)


def test_users_are_hurt_when_more_requests_fail_than_the_objective_allows() -> None:
    watch = watch_of(availability())
    watch.count(service(200, until=START - 60) + outage(1))

    # By the stricter of the two SLOs: a burn of 1.0 at 99.5 %, and of 5 at 99.9 %.
    assert {"llama": Harm(Tally(1000, 5), hurt=True)} == watch.harm()


def test_a_large_fleet_with_its_usual_failures_hurts_nobody() -> None:
    watch = watch_of(availability())
    watch.count([Pulse(7, second, 5000, 5) for second in range(START - 9, START + 1)])

    assert not watch.harm()["llama"].hurt


def test_how_many_failures_hurt_is_configured_by_model() -> None:
    watch = watch_of(availability(model="big"))
    watch.count(outage(9))
    before = watch.harm()["big"].hurt
    watch.count(outage(1))

    assert [False, True] == [before, watch.harm()["big"].hurt]


def test_harm_adds_up_over_the_streams_of_a_model() -> None:
    (per_tenant,) = parse_slos(
        "slos: [{name: a, sli: availability, target: 99, group_by: [model, tenant]}]", "slos.yaml", ObservedBy.GATEWAY
    )
    watch = Watch([per_tenant], CONFIG, START)
    watch.set_streams(
        Stream(id, per_tenant.objective.id, {"model": "llama", "tenant": tenant}) for id, tenant in ((1, "a"), (2, "b"))
    )
    watch.count([Pulse(1, START, 0, 3), Pulse(2, START, 0, 3)])

    assert {"llama": Harm(Tally(0, 6), hurt=True)} == watch.harm()


def test_the_spent_budget_is_what_was_read_and_what_came_since() -> None:
    watch = watch_of(availability())
    watch.set_past({7: Past({MONTH_SECONDS: Tally(996, 2)}, START)})
    watch.count([Pulse(7, START, 0, 2)])

    assert 0.8 == watch.spent(watch.series[0])


def test_a_page_says_how_much_failed_since_when_and_how_fast_the_budget_goes() -> None:
    watch = watch_of(availability())
    watch.count(service(3540, until=START - 60) + outage(60))
    watch.set_past({7: Past({MONTH_SECONDS: Tally(99_700, 300)}, START - MONTH_SECONDS)})

    text = watch.text(watch.series[0], moment(START))

    assert "llama: availability 99.5 %, 300 of 1500 failed in 5 min, burn 3 (1h), since 22:12:21 UTC" == text.summary
    assert (
        "availability of llama: target 99.5 %. Requests are served.",
        "Failed in the last 5 min: 300 of 1500 requests.",
        "Burn 40.0 over 5 min, 3.3 over 1 h, 3.3 over 6 h.",
        "Error budget of 30 days: 60.0% spent.",
    ) == text.facts


def test_a_page_about_latency_says_too_slow() -> None:
    stream = Stream(7, slos()[2].objective.id, {"tenant": "acme", "model": "llama", "environment": "staging"})
    watch = watch_of(stream)
    watch.count(outage(30))

    summary = watch.text(watch.series[0], moment(START)).summary

    assert summary.startswith("llama (acme, staging): ttft 99 %, 150 of 150 too slow in 5 min")


STEADY = Past({MONTH_SECONDS: Tally(5 * MONTH_SECONDS, 0)}, START - MONTH_SECONDS, 1.0)
HEALTHY = [Pulse(7, second, 5, 0) for second in range(START - 3600, START - 19)]


def busy() -> Watch:
    """A stream of 5 requests a second that has been good for an hour, and of which a month is known."""
    watch = Watch([slos()[1]], CONFIG, START)
    watch.set_streams([availability()])
    watch.set_past({7: STEADY})
    watch.count(HEALTHY)
    return watch


def failures(**fields: bool) -> list[Pulse]:
    return [Pulse(7, second, 0, 5, **fields) for second in range(START - 18, START + 1)]


def test_the_fast_rule_pages_before_the_windows_burn_and_says_so() -> None:
    watch = busy()
    watch.count(failures())
    observation = watch.observe(watch.series[0], None, blind=False)

    assert Condition.BREACH is observation.condition
    assert "the fast rule: 95 failed in 18 s, more than 0.5% of the budget of 30 days" == observation.reason
    assert f"Seen by {observation.reason}." in watch.text(watch.series[0], moment(START)).facts


def test_verdicts_that_came_late_are_none_of_the_fast_rules_business() -> None:
    watch = busy()
    watch.count(failures(late=True))

    assert Condition.CLEAR is condition(watch)
    assert 95 == round(watch.burns(watch.series[0])["burn_5m"] * 1500 / 1000)


def test_whoever_takes_over_sees_what_the_fast_rule_saw() -> None:
    """Everything is read at once, in no order, before the month is known."""
    watch = Watch([slos()[1]], CONFIG, START)
    watch.set_streams([availability()])
    watch.count([*reversed(failures()), *HEALTHY])
    before = condition(watch)
    watch.set_past({7: STEADY})

    assert [Condition.CLEAR, Condition.BREACH] == [before, condition(watch)]


def slow(*, age: int = MONTH_SECONDS, bad_2h: int = 30, bad_day: int = 400) -> Watch:
    windows = {
        7200: Tally(10_000 - bad_2h, bad_2h),
        21_600: Tally(30_000, 0),
        86_400: Tally(120_000 - bad_day, bad_day),
        259_200: Tally(360_000, 0),
        MONTH_SECONDS: Tally(3_600_000, 0),
    }
    watch = Watch([slos()[1]], CONFIG, START)
    watch.set_streams([availability()])
    watch.set_past({7: Past(windows, START - age, 1.0)})
    return watch


def ticket(watch: Watch, *, paged: bool = False, blind: bool = False) -> Observation:
    return watch.observe_ticket(watch.tickets[0], None, blind=blind, paged=paged)


def test_a_slow_burn_over_a_day_and_two_hours_is_a_ticket() -> None:
    observation = ticket(slow())

    assert (Condition.BREACH, Severity.TICKET) == (observation.condition, observation.severity)
    assert "burn at least 3 over 1d and 2h" == observation.reason
    assert "llama: strict 99.9 % burns slowly, 3.0 over 2h, 0.0 over 6h, 3.3 over 1d, 0.0 over 3d" == (
        slow().text(slow().tickets[0], moment(START)).summary
    )
    assert "SLOSlowBurn" == slow().tickets[0].labels["alertname"]


def test_no_ticket_where_the_burn_has_ended_or_the_stream_is_younger_than_the_window_or_somebody_was_paged() -> None:
    assert Condition.CLEAR is ticket(slow(bad_2h=29)).condition
    assert Condition.CLEAR is ticket(slow(bad_day=359)).condition
    assert Condition.CLEAR is ticket(slow(age=7199)).condition
    assert Condition.CLEAR is ticket(slow(), paged=True).condition
    assert Condition.NO_DATA is ticket(slow(), blind=True).condition


def test_a_stream_that_flaps_must_be_well_for_longer_each_time() -> None:
    watch = busy()
    holds = [
        watch.observe(watch.series[0], Alert(labels={}, since=moment(START), flaps=flaps), blind=False).hold_seconds
        for flaps in (0, 1, 2, 9)
    ]

    assert [120, 600, 1800, 1800] == holds
