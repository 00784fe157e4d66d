from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from reports.moment import WrongMoment, parse_moment, parse_zone


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-10", "UTC", "2026-10-01T00:00:00+00:00"),
        ("2026-10", "Europe/Berlin", "2026-09-30T22:00:00+00:00"),
        ("2026-10-24", "Asia/Kolkata", "2026-10-23T18:30:00+00:00"),
        ("2026-10-24T13:00", "America/New_York", "2026-10-24T17:00:00+00:00"),
        ("2026-10-24T13:00+02:00", "America/New_York", "2026-10-24T11:00:00+00:00"),
        ("2026-10-24T13:00Z", "America/New_York", "2026-10-24T13:00:00+00:00"),
        ("2026-10-25T02:30+01:00", "Europe/Berlin", "2026-10-25T01:30:00+00:00"),
        # Clocks that change at midnight leave it out, or show it twice.
        ("2024-04-26", "Africa/Cairo", "2024-04-25T22:00:00+00:00"),
        ("2026-11-01", "America/Havana", "2026-11-01T04:00:00+00:00"),
    ],
)
def test_a_moment_is_read_in_the_time_zone_of_bills(text: str, zone: str, expected: str) -> None:
    assert datetime.fromisoformat(expected) == parse_moment(text, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("text", "zone", "message"),
    [
        ("2026-10-25T02:30", "Europe/Berlin", "shows it twice; write the offset too: 2026-10-25T02:30:00[+]02:00"),
        ("2026-03-29T02:30", "Europe/Berlin", "never shows it; write the offset too"),
        ("yesterday", "UTC", "'yesterday' is no time; expected 2026-10, "),
        ("2026-13", "UTC", "'2026-13' is no time"),
        ("2026-02-30", "UTC", "'2026-02-30' is no time"),
    ],
)
def test_a_moment_that_is_none_or_two_is_refused(text: str, zone: str, message: str) -> None:
    with pytest.raises(WrongMoment, match=message):
        parse_moment(text, ZoneInfo(zone))


@pytest.mark.parametrize("name", ["Europe/Berlim", "", "/etc/passwd", "../etc/passwd"])
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(WrongMoment, match="is no time zone; expected a name such as Europe/Berlin"):
        parse_zone(name)
