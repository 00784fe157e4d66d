"""The embedded Postgres: the wheel's programs, with a launcher that leaves nothing running and nothing open."""

from collector.postgres.account import SYSTEM_USER, server_account
from collector.postgres.directory import blocked_at
from collector.postgres.installation import Installation
from collector.postgres.server import Server, start

__all__ = ["SYSTEM_USER", "Installation", "Server", "blocked_at", "server_account", "start"]
