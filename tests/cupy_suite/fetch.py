"""Gets CuPy's tests: the wheel has none, its source distribution on the package index does."""

import hashlib
import json
import shutil
import tarfile
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

VERSION = "14.2.0"
ARCHIVE = f"cupy-{VERSION}.tar.gz"
SHA256 = "cfed725e612178cfbdbf62f4a3a598b60edecbbca718c0d4580c21a16ae4a62c"
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"


def suite(cache: Path) -> Path:
    """The directory with CuPy's `tests/` and `pyproject.toml`; fetched when it is not there yet."""
    target = cache / f"cupy-{VERSION}"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _unpack(_archive(cache), target)
    return target.resolve()  # pytest names tests by real paths


def _archive(cache: Path) -> Path:
    """The source distribution, its digest checked.

    `pip download` would prepare the archive's metadata, which needs a CUDA toolkit; so the file's
    address is read from the index that pip is configured for.
    """
    archive = cache / ARCHIVE
    if not archive.exists():
        with urllib.request.urlopen(_address(), timeout=120) as response:
            archive.write_bytes(response.read())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        archive.unlink()
        raise SystemExit(f"{ARCHIVE} has the digest {digest}, not {SHA256}: it was removed")
    return archive


def _address() -> str:
    index = _index().rstrip("/") + "/cupy/"
    request = urllib.request.Request(index, headers={"Accept": SIMPLE_JSON})
    with urllib.request.urlopen(request, timeout=120) as response:
        files = json.load(response)["files"]
    found = [entry["url"] for entry in files if entry["filename"] == ARCHIVE]
    if not found:
        raise SystemExit(f"{index} has no {ARCHIVE}")
    return urllib.parse.urljoin(index, found[0])


def _index() -> str:
    from pip._internal.configuration import Configuration
    from pip._internal.models.index import PyPI

    configuration = Configuration(isolated=False)
    configuration.load()
    values = dict(configuration.items())
    return values.get(":env:.index-url") or values.get("global.index-url") or PyPI.simple_url


def _unpack(archive: Path, target: Path) -> None:
    """Unpacks what the tests need; the sources would shadow the installed CuPy."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, tarfile.open(archive) as tar:
        top = f"cupy-{VERSION}"
        wanted = [
            member
            for member in tar.getmembers()
            if member.name == f"{top}/pyproject.toml" or member.name.startswith(f"{top}/tests/")
        ]
        tar.extractall(scratch, members=wanted, filter="data")
        shutil.move(Path(scratch, top), target)
