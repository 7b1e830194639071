"""The table of workload settings: one row per key, as annotation, flag, variable and profile field.

The names and types follow the workload configuration page of the system whose manifests this worker
accepts (docs/configuration.md). `unenforced` is where a row says what this worker does not do yet:
such a value is refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vgpu.worker.config import WorkloadConfig

# Given a whole configuration: why the value of one setting cannot be honoured, or None.
Check = Callable[["WorkloadConfig"], str | None]


@dataclass(frozen=True)
class Setting:
    """One workload key."""

    name: str  # as annotation (after the prefix) and as flag (after --)
    help: str
    profile: str | None = None  # path in the spec of a WorkloadProfile
    unenforced: Check = lambda _: None
    annotation: bool = True  # False: exists in profiles only

    @property
    def field(self) -> str:
        """The attribute of `WorkloadConfig`."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable of the same meaning."""
        return "VGPU_" + self.field.upper()


_NO_COMPUTE_LIMITER = "this worker has no compute limiter yet"
_NO_PLACEMENT = "this worker is not placed by a scheduler yet"
_WEBHOOK = "it is acted on by the admission webhook, which does not exist yet"


def _refuse_when_set(field: str, reason: str) -> Check:
    return lambda config: reason if getattr(config, field) is not None else None


def _enabled(config: WorkloadConfig) -> str | None:
    return None if config.enabled else "the workload is switched off, so no worker may serve it"


def _qos(config: WorkloadConfig) -> str | None:
    if config.qos == "medium":
        return None
    return f"every worker has the same weight (medium), {config.qos!r} has no effect yet"


def _is_local_gpu(config: WorkloadConfig) -> str | None:
    return "only remote workers exist yet" if config.is_local_gpu else None


def _vendor(config: WorkloadConfig) -> str | None:
    if config.vendor == "NVIDIA":
        return None
    return f"{config.vendor} devices are not supported by this worker, NVIDIA is"


def _dedicated_gpu(config: WorkloadConfig) -> str | None:
    return "whole cards are not reserved yet" if config.dedicated_gpu else None


def _isolation(config: WorkloadConfig) -> str | None:
    if config.isolation in ("shared", "soft"):
        return None
    return f"isolation {config.isolation!r} is not implemented yet, 'shared' and 'soft' are"


def _autoscale(config: WorkloadConfig) -> str | None:
    return "there is no autoscaler yet" if config.autoscale else None


def _autoscale_target(config: WorkloadConfig) -> str | None:
    return None if config.autoscale_target == "all" else "there is no autoscaler yet"


def _workload_profile(config: WorkloadConfig) -> str | None:
    if config.workload_profile in (None, config.profile_name):
        return None
    return (
        f"profiles are not looked up by name; pass the WorkloadProfile {config.workload_profile!r} "
        "with --profile FILE"
    )


def _replicas(config: WorkloadConfig) -> str | None:
    return None if config.replicas == 1 else "one worker process is one replica"


def _auto_scaling_config(config: WorkloadConfig) -> str | None:
    return "there is no autoscaler yet" if config.auto_scaling_config else None


SETTINGS: tuple[Setting, ...] = (
    Setting("enabled", "Whether the workload uses vGPUs at all (a label).", None, _enabled),
    Setting(
        "tflops-request",
        "FP16 TFLOPS per GPU to place by; default: the limit.",
        "resources.requests.tflops",
        _refuse_when_set("tflops_request", _NO_PLACEMENT),
    ),
    Setting(
        "tflops-limit",
        "FP16 TFLOPS per GPU at most.",
        "resources.limits.tflops",
        _refuse_when_set("tflops_limit", _NO_COMPUTE_LIMITER),
    ),
    Setting(
        "vram-request",
        "Memory per GPU to place by, as 4Gi.",
        "resources.requests.vram",
        _refuse_when_set("vram_request", _NO_PLACEMENT),
    ),
    Setting(
        "vram-limit",
        "Memory per GPU at most, as 4Gi: an exact quota over all clients of the worker.",
        "resources.limits.vram",
    ),
    Setting(
        "compute-percent-request",
        "Share of a GPU to place by, 0-100.",
        "resources.requests.compute",
        _refuse_when_set("compute_percent_request", _NO_PLACEMENT),
    ),
    Setting(
        "compute-percent-limit",
        "Share of a GPU at most, 0-100.",
        "resources.limits.compute",
        _refuse_when_set("compute_percent_limit", _NO_COMPUTE_LIMITER),
    ),
    Setting(
        "inject-container",
        "Containers of the pod that get vGPUs, comma separated.",
        "injectContainer",
        _refuse_when_set("inject_container", _WEBHOOK),
    ),
    Setting("qos", "low, medium, high or critical; default medium.", "qos", _qos),
    Setting(
        "is-local-gpu",
        "true: shared-memory path on the worker's node; default false.",
        "isLocalGPU",
        _is_local_gpu,
    ),
    Setting(
        "standalone-worker-mode",
        "With is-local-gpu: a worker process of its own. No effect on a remote worker.",
        "standaloneWorkerMode",
    ),
    Setting(
        "gpu-count",
        "Devices of this worker, 1-128, shown as cuda:0..N-1; "
        "default: as many as --gpu-indices names, else 1.",
        "gpuCount",
    ),
    Setting(
        "gpu-indices",
        "Physical devices that may serve, comma separated; their order does not matter.",
        "gpuIndices",
    ),
    Setting("gpupool", "Pool to place in.", "poolName", _refuse_when_set("gpupool", _NO_PLACEMENT)),
    Setting("vendor", "Vendor of the device; NVIDIA is served.", "vendor", _vendor),
    Setting("gpu-model", "Model that the devices must be, as A100 or L40s.", "gpuModel"),
    Setting("dedicated-gpu", "Take whole cards of gpu-model.", "dedicatedGPU", _dedicated_gpu),
    Setting(
        "isolation", "shared, soft, hard or partitioned; default soft.", "isolation", _isolation
    ),
    Setting(
        "container-gpu-count",
        "JSON map of container name to device count.",
        "containerGPUCount",
        _refuse_when_set("container_gpu_count", _WEBHOOK),
    ),
    Setting(
        "container-gpus",
        "JSON map of container name to device ids, written by the system.",
        None,
        _refuse_when_set("container_gpus", "it is written by the system, never by hand"),
    ),
    Setting(
        "workload",
        "Name of an existing workload to share the workers of.",
        None,
        _refuse_when_set("workload", _WEBHOOK),
    ),
    Setting(
        "workload-profile",
        "Name of the WorkloadProfile that --profile FILE must hold.",
        None,
        _workload_profile,
    ),
    Setting(
        "enabled-replicas",
        "How many pods of the ReplicaSet get vGPUs.",
        None,
        _refuse_when_set("enabled_replicas", _WEBHOOK),
    ),
    Setting("autoscale", "Let requests follow observed use.", "autoscale", _autoscale),
    Setting("autoscale-target", "compute, vram or all.", "autoscaleTarget", _autoscale_target),
    Setting(
        "disable-features",
        "Any of gpu-limiter, gpu-opt (batching, local answers), mem-manager (address arena), "
        "comma separated.",
        "disableFeatures",
    ),
    Setting("replicas", "Workers of the workload.", "replicas", _replicas, annotation=False),
    Setting(
        "auto-scaling-config",
        "Options of the autoscaler.",
        "autoScalingConfig",
        _auto_scaling_config,
        annotation=False,
    ),
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_PROFILE_PATH: Mapping[str, Setting] = {
    setting.profile: setting for setting in SETTINGS if setting.profile is not None
}
