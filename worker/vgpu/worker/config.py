"""The workload configuration of a worker: one frozen, validated object, read once at start.

Sources in falling priority: flags, `VGPU_*` variables, Pod annotations, WorkloadProfile, built-in
defaults. They are merged key by key; rules that span keys are checked on the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from vgpu.worker.annotations import DEFAULT_PREFIX, read_annotations
from vgpu.worker.errors import ConfigError
from vgpu.worker.profile import read_profile
from vgpu.worker.quantity import parse_bytes, parse_quantity
from vgpu.worker.settings import BY_NAME, SETTINGS

VENDORS = (
    "NVIDIA", "AMD", "Ascend", "Intel", "Hygon", "MetaX", "MThreads", "Cambricon", "Enflame",
    "Qualcomm", "Cerebras", "AWSNeuron", "Google",
)  # fmt: skip
FEATURES = ("gpu-limiter", "gpu-opt", "mem-manager")


def _boolean(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is neither true nor false")


def _integer(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is not a whole number")
    text = str(value).strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(f"{value!r} is not a whole number")
    return int(text)


def _text(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a name")
    return value.strip()


def _number_text(value: object) -> str:
    # YAML gives numbers for unquoted quantities.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a quantity")
    return str(value).strip()


def _memory(value: object) -> object:
    return parse_bytes(_number_text(value))


def _tflops(value: object) -> object:
    parsed = parse_quantity(_number_text(value))
    if parsed <= 0:
        raise ValueError(f"{value!r} is not a positive number of TFLOPS")
    return parsed


def _percent(value: object) -> object:
    parsed = parse_quantity(_number_text(value))
    if not 0 <= parsed <= 100:
        raise ValueError(f"{value!r} is not between 0 and 100")
    return parsed


def _items(value: object) -> object:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    raise ValueError(f"{value!r} is not a comma separated list")


def _names(value: object) -> object:
    items = _items(value)
    assert isinstance(items, tuple)
    if not items or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{value!r} is not a list of names")
    return items


def _indices(value: object) -> object:
    items = _items(value)
    assert isinstance(items, tuple)
    if not items:
        raise ValueError("an empty list selects no device; leave it out to allow every device")
    return tuple(_integer(item) for item in items)


def _unique_sorted(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) != len(value):
        raise ValueError("a device index is repeated")
    return tuple(sorted(value))


def _features(value: object) -> object:
    items = _items(value)
    assert isinstance(items, tuple)
    unknown = [str(item) for item in items if item not in FEATURES]
    if unknown:
        raise ValueError(f"unknown feature {', '.join(unknown)}; known: {', '.join(FEATURES)}")
    return frozenset(items)


def _json_map(value: object) -> object:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON object: {error}") from error
    if not isinstance(value, dict) or not value:
        raise ValueError("not a JSON object with one entry per container")
    return value


def _mapping(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return value


def _vendor(value: object) -> object:
    name = _text(value)
    for known in VENDORS:
        if str(name).lower() == known.lower():
            return known
    raise ValueError(f"{value!r} is not one of {', '.join(VENDORS)}")


Boolean = Annotated[bool, BeforeValidator(_boolean)]
Name = Annotated[str, BeforeValidator(_text)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Memory = Annotated[int, BeforeValidator(_memory)]
Tflops = Annotated[Fraction, BeforeValidator(_tflops)]
Percent = Annotated[Fraction, BeforeValidator(_percent)]
Indices = Annotated[tuple[int, ...], BeforeValidator(_indices), AfterValidator(_unique_sorted)]
Count = Annotated[int, BeforeValidator(_integer), Field(ge=1, le=128)]
Replicas = Annotated[int, BeforeValidator(_integer), Field(ge=0)]
PositiveInt = Annotated[int, Field(strict=True, ge=0)]


class WorkloadConfig(BaseModel):
    """Every workload key, typed; memory in bytes, TFLOPS and percent exact, lists as tuples.

    `gpu_indices` is sorted: cuda:0 is the lowest physical index, in whatever order they were given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    enabled: Boolean = True
    tflops_request: Tflops | None = None
    tflops_limit: Tflops | None = None
    vram_request: Memory | None = None
    vram_limit: Memory | None = None
    compute_percent_request: Percent | None = None
    compute_percent_limit: Percent | None = None
    inject_container: Names | None = None
    qos: Literal["low", "medium", "high", "critical"] = "medium"
    is_local_gpu: Boolean = False
    standalone_worker_mode: Boolean = False
    gpu_count: Count = 1
    gpu_indices: Indices | None = None
    gpupool: Name | None = None
    vendor: Annotated[str, BeforeValidator(_vendor)] = "NVIDIA"
    gpu_model: Name | None = None
    dedicated_gpu: Boolean = False
    isolation: Literal["shared", "soft", "hard", "partitioned"] = "soft"
    container_gpu_count: Annotated[dict[str, PositiveInt], BeforeValidator(_json_map)] | None = None
    container_gpus: Annotated[dict[str, list[str]], BeforeValidator(_json_map)] | None = None
    workload: Name | None = None
    workload_profile: Name | None = None
    enabled_replicas: Replicas | None = None
    autoscale: Boolean = False
    autoscale_target: Literal["compute", "vram", "all"] = "all"
    disable_features: Annotated[frozenset[str], BeforeValidator(_features)] = frozenset()
    replicas: Replicas = 1
    auto_scaling_config: Annotated[dict[str, Any], BeforeValidator(_mapping)] = {}
    # Name of the profile that was merged in, to be compared with `workload_profile`.
    profile_name: str | None = None

    @property
    def placed_tflops(self) -> Fraction | None:
        """What placement counts: a missing request takes the limit."""
        return self.tflops_request if self.tflops_request is not None else self.tflops_limit

    @property
    def placed_vram(self) -> int | None:
        """Bytes that placement counts: a missing request takes the limit."""
        return self.vram_request if self.vram_request is not None else self.vram_limit

    @property
    def placed_compute_percent(self) -> Fraction | None:
        """Percent that placement counts: a missing request takes the limit."""
        if self.compute_percent_request is not None:
            return self.compute_percent_request
        return self.compute_percent_limit

    @model_validator(mode="before")
    @classmethod
    def _count_follows_indices(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "gpu_count" not in values and values.get("gpu_indices") is not None:
            indices = _items(values["gpu_indices"])
            if isinstance(indices, tuple) and 1 <= len(indices) <= 128:
                return values | {"gpu_count": len(indices)}
        return values

    @model_validator(mode="after")
    def _rules(self) -> WorkloadConfig:
        tflops = _set_among(self, "tflops-request", "tflops-limit")
        percent = _set_among(self, "compute-percent-request", "compute-percent-limit")
        if tflops and percent:
            raise ValueError(
                f"{' and '.join(tflops)} cannot be combined with {' and '.join(percent)}: "
                "give compute in TFLOPS or in percent"
            )
        if self.gpu_indices is not None and len(self.gpu_indices) < self.gpu_count:
            raise ValueError(
                f"gpu-count {self.gpu_count} needs at least {self.gpu_count} entries in "
                f"gpu-indices, which has {len(self.gpu_indices)}"
            )
        if self.dedicated_gpu and self.gpu_model is None:
            raise ValueError("dedicated-gpu needs gpu-model")
        return self

    def describes_resources(self) -> bool:
        """Whether it says how much of a GPU it wants: needed in a manifest unless shared."""
        return self.isolation in ("shared", "partitioned") or any(
            amount is not None
            for amount in (self.placed_tflops, self.placed_vram, self.placed_compute_percent)
        )


def _set_among(config: WorkloadConfig, *names: str) -> list[str]:
    return [name for name in names if getattr(config, BY_NAME[name].field) is not None]


@dataclass(frozen=True)
class Source:
    """Raw values by setting name, and where they come from, for messages."""

    origin: str
    values: Mapping[str, object]


def merge(sources: Sequence[Source], *, profile_name: str | None = None) -> WorkloadConfig:
    """Merges sources, the first having the highest priority, and validates the result."""
    merged: dict[str, object] = {}
    origins: dict[str, str] = {}
    for source in sources:
        unknown = sorted(name for name in source.values if name not in BY_NAME)
        if unknown:
            raise ConfigError(f"{source.origin}: unknown setting {', '.join(unknown)}")
        for name, value in source.values.items():
            field = BY_NAME[name].field
            if field not in merged:
                merged[field] = value
                origins[field] = source.origin
    try:
        return WorkloadConfig.model_validate({**merged, "profile_name": profile_name})
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(error, origins))) from error


def _describe(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        text = problem["msg"].removeprefix("Value error, ")
        field = str(problem["loc"][0]) if problem["loc"] else None
        if field is None:
            lines.append(f"workload configuration: {text}")
        else:
            given = f", not {problem['input']!r}" if "Value error" not in problem["msg"] else ""
            origin = origins.get(field, "workload configuration")
            lines.append(f"{origin}: {field.replace('_', '-')}: {text}{given}")
    return lines


def require_enforced(config: WorkloadConfig) -> None:
    """Refuses, in one message, every setting that this worker would not honour."""
    refused = []
    for setting in SETTINGS:
        reason = setting.unenforced(config)
        if reason is not None:
            refused.append(f"  {setting.name}: {reason}")
    if refused:
        raise ConfigError(
            "these settings are not enforced by this worker, so it refuses them rather than "
            "ignore them; remove them to start:\n" + "\n".join(refused)
        )


def load_workload(
    flags: Mapping[str, object],
    *,
    annotations: Sequence[Path] = (),
    profile: Path | None = None,
    prefix: str = DEFAULT_PREFIX,
) -> WorkloadConfig:
    """The configuration of a worker from its flags (and variables), annotation files and profile.

    Raises ConfigError for anything unreadable, unknown, invalid, or not enforced yet.
    """
    sources = [Source("command line or environment", flags)]
    sources += [Source(str(path), _annotated(path, prefix)) for path in annotations]
    profile_name = None
    if profile is not None:
        document = read_profile(profile, prefix)
        profile_name = document.name
        sources.append(Source(str(profile), document.values))
    config = merge(sources, profile_name=profile_name)
    require_enforced(config)
    if (annotations or profile is not None) and not config.describes_resources():
        raise ConfigError(
            "the workload asks for no amount of GPU: set vram-limit (or tflops-limit, "
            "compute-percent-limit), or isolation: shared"
        )
    return config


def _annotated(path: Path, prefix: str) -> dict[str, object]:
    values: dict[str, object] = {}
    unknown = []
    for name, value in read_annotations(path, prefix).items():
        setting = BY_NAME.get(name)
        if setting is None or not setting.annotation:
            unknown.append(prefix + name)
        else:
            values[name] = value
    if unknown:
        raise ConfigError(f"{path}: unknown annotation {', '.join(unknown)}")
    return values
