"""Whose the data directory is, and what is in it."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from collector.errors import ForeignDataDirectory, ServerFailed
from collector.postgres import blocked_at, server_account, start
from tests.collector.postgres.launch import forked, linked_programs, needs_root, value, version
from tests.server import debian


def test_a_directory_of_another_major_version_is_refused_with_the_way_to_move_it(unstarted: Path) -> None:
    with pytest.raises(ForeignDataDirectory, match=r"PostgreSQL 16.*(\n.*)*pg_dump.*(\n.*)*pg_restore"):
        start(unstarted)


def test_a_path_too_long_for_a_socket_gets_its_socket_elsewhere(own_data_dir: Path) -> None:
    long = own_data_dir / ("long" * 30)
    account = server_account()
    long.mkdir(mode=0o711)
    for name in ("postgres", f"install-{version()}"):
        if (own_data_dir / name).exists():
            (own_data_dir / name).rename(long / name)
    with start(long) as server:
        run = Path(str(value(server.conninfo, "SHOW unix_socket_directories")))
        assert own_data_dir not in run.parents
        assert (run.stat().st_uid, stat.S_IMODE(run.stat().st_mode)) == (account.uid, 0o700)
    run.rmdir()


def test_a_cluster_that_was_left_half_made_is_made_again(own_data_dir: Path) -> None:
    partial = own_data_dir / "postgres.partial"
    (own_data_dir / "postgres").rename(partial)
    (partial / "global" / "pg_control").unlink()
    with start(own_data_dir) as server:
        assert value(server.conninfo, "SELECT 1") == 1
    assert not partial.exists()


def test_a_platform_without_the_wheel_is_told_to_set_database_url(new_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerFailed, match="set database_url"):
        start(new_directory)


@needs_root
def test_a_normal_user_starts_a_server_of_its_own(made: Path, new_directory: Path) -> None:
    programs = linked_programs(made, new_directory)
    nobody = pwd.getpwnam("nobody")
    home = new_directory / "home"
    home.mkdir(mode=0o700)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)

    def become_nobody_and_start() -> list[object]:
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        with start(home / "llm-slo", installation=programs) as server:
            return [value(server.conninfo, "SELECT 1"), (home / "llm-slo" / "postgres").stat().st_uid, server.reused]

    assert forked(become_nobody_and_start) == repr([1, nobody.pw_uid, False])
    assert stat.S_IMODE((home / "llm-slo").stat().st_mode) == 0o700
    assert not list((home / "llm-slo").glob("install-*"))


@needs_root
def test_a_normal_user_is_refused_a_directory_of_root(made: Path, new_directory: Path) -> None:
    programs = linked_programs(made, new_directory)
    root = new_directory / "root"
    root.mkdir(mode=0o755)

    def become_nobody_and_start() -> object:
        os.setuid(pwd.getpwnam("nobody").pw_uid)
        return start(root, installation=programs)

    assert "ForeignDataDirectory" in forked(become_nobody_and_start)
    assert "belongs to root" in forked(become_nobody_and_start)


@needs_root
@pytest.mark.parametrize("part", ["", "postgres"])
def test_a_directory_of_another_user_is_refused(unstarted: Path, part: str) -> None:
    os.chown(unstarted / part, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(ForeignDataDirectory, match="belongs to nobody"):
        start(unstarted)


@needs_root
def test_a_closed_parent_is_named_and_stays_closed(new_directory: Path) -> None:
    home = new_directory / "home"
    home.mkdir(mode=0o700)
    new_directory.chmod(0o755)
    with pytest.raises(ServerFailed, match=rf"may not pass {home}: set data_dir"):
        start(home / "llm-slo")
    assert blocked_at(home / "llm-slo", server_account()) == home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@needs_root
def test_a_directory_with_files_of_others_is_not_opened_up(new_directory: Path) -> None:
    (new_directory / "letter").write_text("private")
    with pytest.raises(ServerFailed, match="a directory of its own"):
        start(new_directory)
    assert stat.S_IMODE(new_directory.stat().st_mode) == 0o700


@needs_root
def test_programs_of_another_version_are_replaced_by_a_copy_of_this_one(own_data_dir: Path) -> None:
    stale = own_data_dir / "install-17.0"
    stale.mkdir()
    with start(own_data_dir):
        assert [path.name for path in own_data_dir.glob("install-*")] == [f"install-{version()}"]


def test_debian_s_programs_run_in_place(new_directory: Path) -> None:
    with start(new_directory, installation=debian("15")) as server:
        assert str(value(server.conninfo, "SHOW server_version")).startswith("15.")
    assert not list(new_directory.glob("install-*"))
