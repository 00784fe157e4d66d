from __future__ import annotations

from pathlib import Path

from collector.dialects import DIALECTS
from collector.dialects.page import page

PAGE = Path(__file__).parents[3] / "docs" / "dialects.md"


def test_golden_page_of_the_dialects_is_what_the_table_says() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "stale: python -m collector.dialects.page > docs/dialects.md"


def test_every_dialect_says_how_it_is_recognised_and_what_it_cannot_tell() -> None:
    lines = page().splitlines()
    overview = [line for line in lines if line.startswith("| ") and "`" in line][: len(DIALECTS)]
    assert [] == [line for line in overview if line.endswith("|  |")]
    silent = {dialect.name for dialect in DIALECTS if dialect.role.name == "CALL" and not dialect.unknown}
    assert set() == silent
