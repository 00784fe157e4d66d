from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.reads.plan import LENGTH, Grain, Holding, NotKept, Period, Piece, Unit, cover, slots

_START = datetime(2026, 10, 1, tzinfo=UTC)
_ALWAYS = dict.fromkeys(Grain, datetime(2000, 1, 1, tzinfo=UTC))
_FRESH = Holding(_ALWAYS, {})
_MINUTES = 10 * 24 * 60
_ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-10-{text}+00:00")


@st.composite
def periods(draw: st.DrawFn) -> Period:
    seconds = draw(st.lists(st.integers(0, 60 * _MINUTES), min_size=2, max_size=2).map(sorted))
    coarse = draw(st.sampled_from([1, 60, 3600, 86400]))
    return Period(*(_START + timedelta(seconds=second // coarse * coarse) for second in seconds))


@st.composite
def holdings(draw: st.DrawFn) -> Holding:
    minutes = {_START + timedelta(minutes=minute) for minute in draw(st.sets(st.integers(0, _MINUTES), max_size=6))}
    hours = {minute.replace(minute=0) for minute in minutes}
    hours |= {_START + timedelta(hours=hour) for hour in draw(st.sets(st.integers(0, _MINUTES // 60), max_size=6))}
    days = {hour.replace(hour=0) for hour in hours}
    since = _ALWAYS | {Grain.MINUTE: _START + timedelta(minutes=draw(st.integers(0, _MINUTES)))}
    stale = {Grain.MINUTE: sorted(minutes), Grain.HOUR: sorted(hours), Grain.DAY: sorted(days)}
    return Holding(since, stale)


@given(periods(), holdings())
def test_every_moment_is_read_once_and_from_what_is_exact(period: Period, holding: Holding) -> None:
    pieces = cover(period, holding)
    assert [piece.start for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
    assert ([] if period.start == period.end else [period]) == [Period(pieces[0].start, pieces[-1].end) for _ in pieces[:1]]
    for piece in pieces:
        if piece.grain is Grain.ROW:
            continue
        length = LENGTH[piece.grain]
        assert (timedelta(0), timedelta(0)) == ((piece.start - _START) % length, (piece.end - _START) % length)
        assert piece.start >= holding.since[piece.grain]
        assert not any(piece.start <= stale < piece.end for stale in holding.stale[piece.grain])


@given(periods(), holdings())
def test_nothing_is_read_finer_than_it_has_to_be(period: Period, holding: Holding) -> None:
    for piece in cover(period, holding):
        for grain in list(Grain)[piece.grain + 1 :]:
            start = _START + (piece.start - _START + LENGTH[grain] - timedelta(microseconds=1)) // LENGTH[grain] * LENGTH[grain]
            while start + LENGTH[grain] <= piece.end:
                assert not holding.is_exact(grain, start)
                start += LENGTH[grain]


def test_edges_are_read_from_hours_minutes_and_rows() -> None:
    assert [
        Piece(Grain.ROW, at("01T10:58:30"), at("01T10:59:00")),
        Piece(Grain.MINUTE, at("01T10:59:00"), at("01T11:00:00")),
        Piece(Grain.HOUR, at("01T11:00:00"), at("02T00:00:00")),
        Piece(Grain.DAY, at("02T00:00:00"), at("09T00:00:00")),
        Piece(Grain.HOUR, at("09T00:00:00"), at("09T01:00:00")),
    ] == cover(Period(at("01T10:58:30"), at("09T01:00:00")), _FRESH)


def test_a_day_that_is_not_exact_is_read_from_its_hours_and_only_it() -> None:
    stale = {Grain.DAY: [at("03T00:00:00")], Grain.HOUR: [at("03T05:00:00")]}
    assert [
        Piece(Grain.DAY, at("01T00:00:00"), at("03T00:00:00")),
        Piece(Grain.HOUR, at("03T00:00:00"), at("03T05:00:00")),
        Piece(Grain.MINUTE, at("03T05:00:00"), at("03T06:00:00")),
        Piece(Grain.HOUR, at("03T06:00:00"), at("04T00:00:00")),
        Piece(Grain.DAY, at("04T00:00:00"), at("06T00:00:00")),
    ] == cover(Period(at("01T00:00:00"), at("06T00:00:00")), Holding(_ALWAYS, stale))


def test_what_is_no_longer_kept_that_finely_is_refused_and_named() -> None:
    holding = Holding(_ALWAYS | dict.fromkeys((Grain.ROW, Grain.MINUTE), at("20T00:00:00")), {})
    with pytest.raises(NotKept, match=r"between 2026-10-01T10:30:00\+00:00 and 2026-10-01T11:00:00"):
        cover(Period(at("01T10:30:00"), at("02T00:00:00")), holding)


@given(periods(), st.sampled_from(list(Unit)), st.sampled_from(_ZONES).map(ZoneInfo))
def test_slots_follow_each_other_and_begin_where_clocks_show_it(period: Period, unit: Unit, zone: ZoneInfo) -> None:
    cut = slots(period, unit, zone)
    assert [slot.start for slot in cut[1:]] == [slot.end for slot in cut[:-1]]
    assert ([] if period.start == period.end else [period]) == [Period(cut[0].start, cut[-1].end) for _ in cut[:1]]
    for slot in cut[1:]:
        local = slot.start.astimezone(zone)
        assert 0 == local.minute or zone.key == "Australia/Lord_Howe"
        if unit is not Unit.HOUR:
            assert 0 == local.hour
        if unit is Unit.MONTH:
            assert 1 == local.day


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Berlin", "2026-03-29", 23), ("Europe/Berlin", "2026-10-25", 25), ("Asia/Kolkata", "2026-10-25", 24)],
)
def test_a_day_on_which_clocks_change_is_shorter_or_longer(zone: str, day: str, hours: int) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    start = midnight.astimezone(UTC)
    cut = slots(Period(start, start + timedelta(days=3)), Unit.DAY, ZoneInfo(zone))
    assert timedelta(hours=hours) == cut[0].end - cut[0].start
    assert hours == len(slots(cut[0], Unit.HOUR, ZoneInfo(zone)))
