"""The launcher of the embedded server, against real servers: started once, used by many, stopped by the last."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import psycopg
import pytest

from collector.errors import ServerFailed
from collector.postgres import Installation, server_account, start
from collector.postgres.process import servers, serves, serves_by_command
from tests.collector.postgres.launch import value, version

_CHECKOUT = Path(__file__).parents[3]


def _child(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python of its own, that imports from this checkout."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(_CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_new_directory_gets_a_durable_server_on_a_private_socket(new_directory: Path) -> None:
    with start(new_directory) as server:
        settings = ("fsync", "listen_addresses", "TimeZone", "server_encoding", "unix_socket_permissions")
        assert [value(server.conninfo, f"SHOW {name}") for name in settings] == ["on", "", "UTC", "UTF8", "0700"]
        modes = [stat.S_IMODE((new_directory / name).stat().st_mode) for name in ("postgres", "run")]
        assert modes == [0o700, 0o700]
        assert not server.reused
    assert servers(new_directory / "postgres", server_account()) == []


def test_a_second_start_uses_the_server_and_the_last_stop_ends_it(data_dir: Path) -> None:
    first = start(data_dir)
    second = start(data_dir)
    assert (first.reused, second.reused, second.pid) == (False, True, first.pid)
    first.stop()
    first.stop()
    assert value(second.conninfo, "SELECT 1") == 1
    second.stop()
    assert second.pid is None


def test_four_starters_at_once_share_one_server(new_directory: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from collector.postgres import start
        with start(Path(sys.argv[1])) as server:
            print(server.pid, server.reused, flush=True)
            sys.stdin.readline()
    """
    children = [_child(code, str(new_directory)) for _ in range(4)]
    said = [child.stdout.readline().split() for child in children if child.stdout]
    for child in children:
        child.communicate("\n")
    assert len({pid for pid, _ in said}) == 1
    assert sorted(reused for _, reused in said) == ["False", "True", "True", "True"]
    assert servers(new_directory / "postgres", server_account()) == []


def test_a_server_left_by_a_killed_process_is_used_and_then_stopped(data_dir: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from collector.postgres import start
        print(start(Path(sys.argv[1])).pid, flush=True)
        sys.stdin.readline()
    """
    child = _child(code, str(data_dir))
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    child.kill()
    child.communicate()
    with start(data_dir) as server:
        assert (server.reused, server.pid) == (True, pid)
    assert servers(data_dir / "postgres", server_account()) == []


def test_a_killed_server_comes_back_with_what_was_committed(data_dir: Path) -> None:
    with start(data_dir) as killed:
        with psycopg.connect(killed.conninfo) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
        pid = killed.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with start(data_dir) as server:
            assert not server.reused
            assert value(server.conninfo, "SELECT value FROM kept") == 7


def test_a_stale_pid_file_is_not_believed_whoever_has_the_pid_now(data_dir: Path) -> None:
    account = server_account()
    user = account.uid if account.dropped else None
    # Of the same account: Postgres itself would refuse to start beside it.
    other = subprocess.Popen(["sleep", "600"], user=user)
    try:
        run = data_dir / "run"
        lines = [str(other.pid), str(data_dir / "postgres"), "1700000000", "5432", str(run), "", "0 0", "ready", ""]
        for file in (data_dir / "postgres" / "postmaster.pid", run / ".s.PGSQL.5432.lock"):
            file.write_text("\n".join(lines))
            account.own(file)
        assert not serves(other.pid, data_dir / "postgres", account)
        with start(data_dir) as server:
            assert not server.reused
            assert server.pid != other.pid
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_two_data_directories_have_two_servers(data_dir: Path, own_data_dir: Path) -> None:
    with start(data_dir) as one, start(own_data_dir) as other:
        assert one.pid != other.pid
        assert value(one.conninfo, "SHOW data_directory") == str(data_dir / "postgres")
        assert value(other.conninfo, "SHOW data_directory") == str(own_data_dir / "postgres")


def test_a_start_that_fails_says_what_the_server_said(own_data_dir: Path) -> None:
    settings = own_data_dir / "postgres" / "postgresql.auto.conf"
    settings.write_text("shared_buffers = 'lots'\n")
    with pytest.raises(ServerFailed, match='invalid value for parameter "shared_buffers": "lots"'):
        start(own_data_dir)


def test_programs_that_cannot_be_run_are_named_in_one_line(data_dir: Path) -> None:
    with pytest.raises(ServerFailed, match=r"cannot be started: .*No such file.*/nonexistent/pg_ctl"):
        start(data_dir, installation=Installation(Path("/nonexistent"), version()))


def test_a_ctrl_c_in_the_terminal_does_not_reach_the_server(data_dir: Path) -> None:
    with start(data_dir) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0)


def test_the_line_for_psql_works(data_dir: Path) -> None:
    with start(data_dir) as server:
        shown = subprocess.run(
            f"{server.psql_command} -Atc 'SELECT 6 * 7'", shell=True, capture_output=True, text=True, check=True
        )
    assert shown.stdout == "42\n"


def test_a_process_is_known_by_its_command_where_there_is_no_proc(data_dir: Path) -> None:
    with start(data_dir) as server:
        assert server.pid is not None
        assert serves_by_command(server.pid, data_dir / "postgres")
        assert not serves_by_command(server.pid, data_dir)
        assert not serves_by_command(os.getpid(), data_dir / "postgres")


def test_a_server_that_somebody_started_by_hand_is_reported_and_not_touched(own_data_dir: Path) -> None:
    with start(own_data_dir) as server:
        programs = Path(server.psql_command.split()[0]).parent
    cluster, account = own_data_dir / "postgres", server_account()
    elsewhere = own_data_dir / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    account.own(elsewhere)
    command = [
        str(programs / "pg_ctl"),
        "-D",
        str(cluster),
        "-o",
        f"-h '' -k {elsewhere}",
        "-l",
        str(cluster / "hand.log"),
        "-w",
    ]
    assert account.run([*command, "start"]).returncode == 0
    with pytest.raises(ServerFailed, match="did not start"):
        start(own_data_dir)
    assert account.run([*command, "status"]).returncode == 0
