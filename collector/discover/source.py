"""Where targets come from: files, URLs, DNS names. Each is asked again and again; one that fails keeps what it last said."""

from __future__ import annotations

import asyncio
import glob
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import aiohttp
import yaml

from collector.discover.group import Found, MalformedTargets, read_groups, target_of
from collector.target import DnsDiscovery, FileDiscovery, HttpDiscovery, Target

LARGEST_BYTES = 16 * 2**20
"""Size of one document."""


class SourceFailed(Exception):
    """A source did not say which targets there are; the message says why."""


class Source(Protocol):
    """Something that knows targets."""

    @property
    def name(self) -> str:
        """In logs and metrics."""

    @property
    def refresh_seconds(self) -> float:
        """How often to ask."""

    async def find(self) -> Found:
        """Every target that there is now.

        :raises SourceFailed: when that cannot be told
        """


class FileSource(NamedTuple):
    """Files in Prometheus' file_sd format, JSON or YAML."""

    settings: FileDiscovery

    @property
    def name(self) -> str:
        return f"file {', '.join(self.settings.files)}"

    @property
    def refresh_seconds(self) -> float:
        return self.settings.refresh_seconds

    async def find(self) -> Found:
        return await asyncio.to_thread(self._read)

    def _read(self) -> Found:
        found: list[Found] = []
        for pattern in self.settings.files:
            for path in sorted(glob.glob(pattern)):
                found.append(_read_file(Path(path)))
        return Found(tuple(t for one in found for t in one.targets), tuple(r for one in found for r in one.rejected))


def _read_file(path: Path) -> Found:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise SourceFailed(f"{path}: larger than {LARGEST_BYTES} bytes")
        text = path.read_text()
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        return read_groups(document if document is not None else [])
    except OSError as error:
        raise SourceFailed(f"{path}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError, MalformedTargets) as error:
        raise SourceFailed(f"{path}: {_first_line(error)}") from None


class HttpSource(NamedTuple):
    """A URL in Prometheus' http_sd format. Redirects are refused: a target list comes from where the operator said."""

    settings: HttpDiscovery
    session: aiohttp.ClientSession

    @property
    def name(self) -> str:
        return f"http {self.settings.url}"

    @property
    def refresh_seconds(self) -> float:
        return self.settings.refresh_seconds

    async def find(self) -> Found:
        try:
            timeout = aiohttp.ClientTimeout(total=self.settings.timeout_seconds)
            async with self.session.get(self.settings.url, timeout=timeout, allow_redirects=False) as response:
                if response.status != 200:
                    raise SourceFailed(f"answered {response.status}: expected 200")
                if response.content_type != "application/json":
                    raise SourceFailed(f"answered {response.content_type}: expected application/json")
                body = await _read_body(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SourceFailed(f"{type(error).__name__}: no answer in {self.settings.timeout_seconds:.0f} s") from None
        try:
            return read_groups(json.loads(body))
        except (ValueError, RecursionError, MalformedTargets) as error:
            raise SourceFailed(_first_line(error)) from None


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_BYTES:
            raise SourceFailed(f"the answer is larger than {LARGEST_BYTES} bytes")
    return bytes(body)


class DnsSource(NamedTuple):
    """Names that resolve to one address per replica, such as a headless service."""

    settings: DnsDiscovery

    @property
    def name(self) -> str:
        return f"dns {', '.join(self.settings.names)}"

    @property
    def refresh_seconds(self) -> float:
        return self.settings.refresh_seconds

    async def find(self) -> Found:
        loop = asyncio.get_running_loop()
        targets: list[Target] = []
        for name in self.settings.names:
            try:
                answers = await loop.getaddrinfo(name, self.settings.port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise SourceFailed(f"{name}: {error.strerror or error}") from None
            targets += [target_of(_host_and_port(answer[4]), self._labels()) for answer in sorted(set(answers))]
        return Found(tuple(targets), ())

    def _labels(self) -> dict[object, object]:
        settings = self.settings
        return {"model": settings.model, "environment": settings.environment, "__scheme__": settings.scheme}


def _host_and_port(address: Sequence[object]) -> str:
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
