"""WorkloadProfile documents: a template of workload settings, below annotations in priority."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from vgpu.worker.annotations import DEFAULT_PREFIX
from vgpu.worker.errors import ConfigError
from vgpu.worker.settings import BY_PROFILE_PATH

# Written by the API server or its controllers; they configure nothing.
_TOP_LEVEL = {"apiVersion", "kind", "metadata", "spec", "status"}
_GROUPS = {"resources", "resources.requests", "resources.limits"}


@dataclass(frozen=True)
class Profile:
    """A WorkloadProfile: its name, and its settings by their annotation names."""

    name: str | None
    values: Mapping[str, object]


def _flatten(node: object, path: str, origin: str) -> Iterator[tuple[str, object]]:
    if path in _GROUPS or path == "":
        if not isinstance(node, dict):
            raise ConfigError(f"{origin}: spec{'.' + path if path else ''} must be a mapping")
        for key, value in node.items():
            yield from _flatten(value, f"{path}.{key}" if path else str(key), origin)
    else:
        yield path, node


def parse_profile(text: str, *, origin: str, prefix: str = DEFAULT_PREFIX) -> Profile:
    """The profile in a YAML document; ConfigError names what is unknown or malformed."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{origin} must hold one WorkloadProfile document")
    version = f"{prefix.rstrip('/')}/v1"
    if document.get("apiVersion") != version or document.get("kind") != "WorkloadProfile":
        raise ConfigError(
            f"{origin} is {document.get('apiVersion')!r} {document.get('kind')!r}, "
            f"expected apiVersion {version!r} and kind 'WorkloadProfile'"
        )
    unknown = sorted(str(key) for key in document if key not in _TOP_LEVEL)
    values: dict[str, object] = {}
    for path, value in _flatten(document.get("spec") or {}, "", origin):
        setting = BY_PROFILE_PATH.get(path)
        if setting is None:
            unknown.append(f"spec.{path}")
        elif value is not None:
            values[setting.name] = value
    if unknown:
        raise ConfigError(
            f"{origin} has unknown fields: {', '.join(unknown)}. "
            f"Known in spec: {', '.join(sorted(BY_PROFILE_PATH))}"
        )
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return Profile(name=str(name) if name is not None else None, values=values)


def read_profile(path: Path, prefix: str = DEFAULT_PREFIX) -> Profile:
    """The profile in a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the profile {path}: {error}") from error
    return parse_profile(text, origin=str(path), prefix=prefix)
