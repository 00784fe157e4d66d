"""Pure: times as people write them on a command line, in the time zone that they bill in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class WrongMoment(ValueError):
    """A text that names no moment, or two. The message says what was expected."""


def parse_zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA database.

    :raises WrongMoment: there is none of this name
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WrongMoment(f"{name!r} is no time zone; expected a name such as Europe/Berlin, or UTC") from error


def parse_moment(text: str, zone: ZoneInfo) -> datetime:
    """A month (its first moment), a day (its first moment), or a time; in ``zone`` unless it says its offset.

    :raises WrongMoment: it is none of these, or clocks in ``zone`` never showed it, or showed it twice
    """
    month = re.fullmatch(r"(\d{4})-(\d\d)", text)
    try:
        moment = datetime.fromisoformat(f"{text}-01" if month else text)
    except ValueError as error:
        raise WrongMoment(
            f"{text!r} is no time; expected 2026-10, 2026-10-24, 2026-10-24T13:00 or 2026-10-24T13:00+02:00"
        ) from error
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    return _at(moment, zone, text, is_date=bool(month) or len(text) <= len("2026-10-24"))


def _at(moment: datetime, zone: ZoneInfo, text: str, is_date: bool) -> datetime:
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset() or is_date:
        # A day whose midnight clocks leave out begins with the moment that they go on.
        return first.astimezone(UTC)
    shown = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment
    said = "shows it twice" if shown else "never shows it"
    raise WrongMoment(f"{text!r}: the clock changes then, and {zone.key} {said}; write the offset too: {first.isoformat()}")
