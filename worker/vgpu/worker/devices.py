"""The devices of this worker: what the driver has, and which of it clients may see.

`vgpu-executor --probe` asks the driver in a process of its own, so that the worker never loads one.
Physical indices are those of nvidia-smi: on a real GPU they are checked against NVML.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import structlog

from vgpu.protocol.control import Device
from vgpu.protocol.errors import MessageError
from vgpu.worker.config import WorkloadConfig
from vgpu.worker.drivers import DriverChoice
from vgpu.worker.errors import DeviceError, DriverError
from vgpu.worker.paths import NativeFiles

# A real driver needs seconds for its first initialisation when persistence mode is off.
PROBE_SECONDS = 60.0

_log = structlog.get_logger("vgpu.worker.devices")


@dataclass(frozen=True)
class Inventory:
    """What a driver says about itself: all devices, in physical order."""

    driver: DriverChoice
    driver_version: int
    images: Literal["device", "ptx", "any-elf"]
    devices: tuple[Device, ...]
    opcodes: tuple[int, ...] = ()  # that the executor and this driver serve


def parse_probe(text: str, driver: DriverChoice) -> Inventory:
    """The inventory in the output of `vgpu-executor --probe`; DriverError when it is not one."""
    try:
        document = json.loads(text.strip().splitlines()[-1])
        devices = tuple(_device(entry) for entry in document["devices"])
        kind = document.get("driver", driver.kind)
        images = document.get("images", "ptx" if kind == "soft" else "device")
        if kind not in ("cuda", "soft") or images not in ("device", "ptx", "any-elf"):
            raise ValueError(f"driver {kind!r} with images {images!r}")
        return Inventory(
            driver=DriverChoice(driver.path, kind),
            driver_version=int(document["driver_version"]),
            images=images,
            devices=devices,
            opcodes=tuple(int(opcode) for opcode in document.get("opcodes", ())),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, MessageError) as error:
        raise DriverError(f"vgpu-executor --probe answered nonsense: {error!r}") from error


def _device(entry: Mapping[str, object]) -> Device:
    fields = dict(entry)
    fields["uuid"] = bytes.fromhex(str(fields["uuid"]).removeprefix("GPU-").replace("-", ""))
    attributes = fields.get("attributes", {})
    if not isinstance(attributes, dict):
        raise ValueError("attributes must be a map")
    fields["attributes"] = {int(key): value for key, value in attributes.items()}
    return Device.model_validate(fields)


async def probe(
    native: NativeFiles, driver: DriverChoice, environment: Mapping[str, str]
) -> Inventory:
    """Asks the driver for its devices, in a process of its own; DriverError when it fails."""
    process = await asyncio.create_subprocess_exec(
        native.executor,
        "--driver",
        driver.path,
        "--probe",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
    )
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise DriverError(
            f"the driver {driver.path} did not initialise within {PROBE_SECONDS:.0f} s"
        ) from error
    messages = errors.decode(errors="replace").strip()
    if process.returncode != 0:
        last = messages.splitlines()[-1] if messages else describe_exit(process.returncode)
        raise DriverError(f"the driver {driver.path} cannot be used: {last}")
    for line in messages.splitlines():
        _log.info("probe", line=line)
    inventory = parse_probe(output.decode(errors="replace"), driver)
    if not inventory.devices:
        raise DriverError(f"the driver {driver.path} shows no device")
    if inventory.driver.kind == "cuda":
        inventory = in_nvml_order(inventory)
    return inventory


def describe_exit(returncode: int | None) -> str:
    """How a process ended, in words."""
    if returncode is None:
        return "still running"
    if returncode < 0:
        from signal import Signals

        try:
            return f"killed by signal {-returncode} ({Signals(-returncode).name})"
        except ValueError:
            return f"killed by signal {-returncode}"
    return f"exited with status {returncode}"


def in_nvml_order(inventory: Inventory) -> Inventory:
    """Orders devices as NVML numbers them, so that indices mean what nvidia-smi prints."""
    order = nvml_order()
    if order is None:
        return inventory
    position = {uuid: index for index, uuid in enumerate(order)}
    missing = [device.uuid_text for device in inventory.devices if device.uuid_text not in position]
    if missing:
        _log.warning("devices unknown to NVML: keeping the driver's PCI order", uuids=missing)
        return inventory
    if len(order) > len(inventory.devices):
        raise DriverError(
            f"NVML lists {len(order)} devices and the driver {len(inventory.devices)}, so an index "
            "would not mean what nvidia-smi prints; check the driver's log for the missing ones"
        )
    devices = sorted(inventory.devices, key=lambda device: position[device.uuid_text])
    return replace(inventory, devices=tuple(devices))


def nvml_order() -> list[str] | None:
    """The UUIDs of all devices by nvidia-smi's index; None, with a log line, without NVML."""
    library = _nvml_library()
    if library is None:
        _log.warning("no NVML library: device indices are the driver's, in PCI order")
        return None
    # pynvml opens its library by name; one with that SONAME that is loaded already is the one it
    # gets, so our own stub on LD_LIBRARY_PATH is not.
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # pynvml's errors derive from Exception only
        _log.warning("NVML does not initialise: indices are the driver's", error=str(error))
        return None
    try:
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        return [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _nvml_library() -> Path | None:
    from vgpu.worker.drivers import library_candidates

    return next(iter(library_candidates("libnvidia-ml.so.1", "")), None)


def matches_model(name: str, model: str) -> bool:
    """Whether a device name is of a model: `A100` or `L40s` by word, or the full name; any case."""
    wanted, words = model.lower(), re.split(r"[\s\-_/()]+", name.lower())
    return wanted == name.lower() or wanted in words


def select_devices(inventory: Inventory, config: WorkloadConfig) -> list[int]:
    """Positions in the inventory of the devices that clients see as cuda:0, cuda:1, ...

    In order of physical index. DeviceError names an index that does not exist, or how many are
    missing.
    """
    total = len(inventory.devices)
    candidates = list(config.gpu_indices) if config.gpu_indices is not None else list(range(total))
    absent = [str(index) for index in candidates if index >= total]
    if absent:
        raise DeviceError(
            f"gpu-indices names device {', '.join(absent)}, but {_have(inventory)} "
            f"(indices {_span(total)})"
        )
    if config.gpu_model is not None:
        model = config.gpu_model
        candidates = [i for i in candidates if matches_model(inventory.devices[i].name, model)]
    if len(candidates) < config.gpu_count:
        of_model = f" of model {config.gpu_model}" if config.gpu_model else ""
        fix = "lower --gpu-count"
        if inventory.driver.kind == "soft" and config.gpu_model is None:
            fix += f", or start with --soft-devices {config.gpu_count}"
        raise DeviceError(
            f"gpu-count {config.gpu_count} needs {config.gpu_count} devices{of_model}, but "
            f"{_have(inventory)}" + (f", {len(candidates)} usable" if of_model else "") + f": {fix}"
        )
    return candidates[: config.gpu_count]


def _have(inventory: Inventory) -> str:
    total = len(inventory.devices)
    what = "software GPU" if inventory.driver.kind == "soft" else "machine"
    return f"the {what} has {total} device{'' if total == 1 else 's'}"


def _span(total: int) -> str:
    return "0" if total == 1 else f"0..{total - 1}"


def shown_devices(
    inventory: Inventory, selected: Sequence[int], vram_limit: int | None
) -> list[Device]:
    """The devices as clients see them: renumbered, with the quota as their memory."""
    shown = []
    for ordinal, index in enumerate(selected):
        device = inventory.devices[index]
        memory = device.total_memory
        if vram_limit is not None and vram_limit > memory:
            _log.warning(
                "vram-limit exceeds the device's memory, which is what clients see",
                device=index,
                vram_limit=vram_limit,
                memory=memory,
            )
        if vram_limit is not None:
            memory = min(memory, vram_limit)
        shown.append(device.model_copy(update={"ordinal": ordinal, "total_memory": memory}))
    return shown
