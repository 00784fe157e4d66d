"""Which targets there are: static ones, files, URLs, DNS names and Kubernetes pods, shared among collectors."""

from __future__ import annotations

import aiohttp

from collector.discover.group import Found, MalformedTargets, read_groups
from collector.discover.kubernetes import KubernetesSource
from collector.discover.roster import Roster
from collector.discover.share import owner_of
from collector.discover.source import DnsSource, FileSource, HttpSource, Source, SourceFailed
from collector.target import Discovery


def sources_of(discovery: Discovery, session: aiohttp.ClientSession) -> list[Source]:
    """A source for each that is configured."""
    return [
        *(FileSource(settings) for settings in discovery.files),
        *(HttpSource(settings, session) for settings in discovery.http),
        *(DnsSource(settings) for settings in discovery.dns),
        *(KubernetesSource(settings) for settings in discovery.kubernetes),
    ]


__all__ = [
    "DnsSource",
    "FileSource",
    "Found",
    "HttpSource",
    "KubernetesSource",
    "MalformedTargets",
    "Roster",
    "Source",
    "SourceFailed",
    "owner_of",
    "read_groups",
    "sources_of",
]
