from __future__ import annotations

import stat
from pathlib import Path

import pytest

from demo.tenant import (
    Directory,
    Key,
    Limit,
    RateLimiter,
    hash_key,
    keys_by_tenant,
    new_directory,
    read_directory,
    write_directory,
)


def test_directory_survives_its_file_which_only_the_owner_reads(tmp_path: Path) -> None:
    directory = new_directory(["acme", "globex"])
    write_directory(tmp_path / "keys.json", directory)
    assert directory == read_directory(tmp_path / "keys.json")
    assert 0o600 == stat.S_IMODE((tmp_path / "keys.json").stat().st_mode)


def test_new_directory_has_one_key_per_tenant() -> None:
    assert {"acme", "globex"} == set(keys_by_tenant(new_directory(["acme", "globex"])))


def test_key_of_a_tenant_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_directory(tmp_path / "keys.json", Directory({"sk-1": Key("acme", "web")}, {}))
    with pytest.raises(ValueError, match="not there: acme"):
        read_directory(tmp_path / "keys.json")


def test_limit_allows_the_burst_and_then_its_rate() -> None:
    limiter = RateLimiter({"acme": Limit(requests_per_second=2, burst=3)})
    assert [True, True, True, False] == [limiter.allow("acme", 100.0) for _ in range(4)]
    assert [False, True, False] == [limiter.allow("acme", at) for at in (100.25, 100.5, 100.75)]


def test_limit_saves_no_more_than_the_burst() -> None:
    limiter = RateLimiter({"acme": Limit(requests_per_second=2, burst=3)})
    limiter.allow("acme", 0.0)
    assert [True, True, True, False] == [limiter.allow("acme", 1000.0) for _ in range(4)]


def test_tenants_do_not_share_a_limit() -> None:
    limiter = RateLimiter(dict.fromkeys(("acme", "globex"), Limit(1, 1)))
    assert [True, False, True] == [limiter.allow(tenant, 0.0) for tenant in ("acme", "acme", "globex")]


def test_hash_tells_keys_apart_and_holds_none() -> None:
    assert hash_key("sk-1") != hash_key("sk-2")
    assert 16 == len(hash_key("sk-1"))
