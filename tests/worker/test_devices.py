"""The device inventory, and which devices clients see."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.protocol.control import Device
from vgpu.worker import devices
from vgpu.worker.config import load_workload
from vgpu.worker.devices import (
    Inventory,
    describe_exit,
    matches_model,
    parse_probe,
    select_devices,
    shown_devices,
)
from vgpu.worker.drivers import DriverChoice
from vgpu.worker.errors import DeviceError, DriverError

CUDA = DriverChoice(Path("/usr/lib/libcuda.so.1"), "cuda")
SOFT = DriverChoice(Path("/opt/vgpu/softgpu/libcuda.so.1"), "soft")


def device(ordinal: int, name: str = "NVIDIA A100-SXM4-40GB") -> Device:
    return Device(
        ordinal=ordinal, name=name, uuid=bytes([ordinal] * 16), total_memory=40 << 30, pci=[0, 1, 2]
    )


def inventory(*names: str, driver: DriverChoice = CUDA) -> Inventory:
    devices = tuple(device(ordinal, name) for ordinal, name in enumerate(names))
    return Inventory(driver=driver, driver_version=13000, images="device", devices=devices)


FOUR = inventory("NVIDIA A100-SXM4-40GB", "NVIDIA L40S", "NVIDIA L4", "NVIDIA A100-SXM4-40GB")


@pytest.mark.parametrize(
    ("settings", "selected"),
    [
        ({}, [0]),
        ({"gpu-count": "3"}, [0, 1, 2]),
        ({"gpu-indices": "3,1"}, [1, 3]),
        ({"gpu-indices": "3,1,2", "gpu-count": "2"}, [1, 2]),
        ({"gpu-model": "a100", "gpu-count": "2"}, [0, 3]),
        ({"gpu-model": "L40s"}, [1]),
        ({"gpu-model": "NVIDIA L4"}, [2]),
        ({"gpu-model": "A100", "gpu-indices": "1,2,3", "gpu-count": "1"}, [3]),
    ],
)
def test_selection(settings: dict[str, object], selected: list[int]) -> None:
    assert select_devices(FOUR, load_workload(settings)) == selected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpu-indices": "5,1"}, r"gpu-indices names device 5, but the machine has 4 devices"),
        ({"gpu-count": "5"}, "gpu-count 5 needs 5 devices, but the machine has 4 devices"),
        ({"gpu-model": "H100"}, "1 devices of model H100, but .*, 0 usable"),
        ({"gpu-model": "A10"}, "model A10"),
    ],
)
def test_missing_devices_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        select_devices(FOUR, load_workload(settings))


def in_order_of(monkeypatch: pytest.MonkeyPatch, order: list[str] | None) -> list[int]:
    monkeypatch.setattr(devices, "nvml_order", lambda: order)
    return [device.ordinal for device in devices.in_nvml_order(FOUR).devices]


def test_physical_indices_are_those_of_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    uuids = [device.uuid_text for device in FOUR.devices]
    assert in_order_of(monkeypatch, uuids[::-1]) == [3, 2, 1, 0]
    assert in_order_of(monkeypatch, None) == [0, 1, 2, 3]
    assert in_order_of(monkeypatch, ["GPU-other", *uuids[1:]]) == [0, 1, 2, 3]
    with pytest.raises(DriverError, match="NVML lists 5 devices and the driver 4"):
        in_order_of(monkeypatch, ["GPU-lost", *uuids])


def test_a_software_gpu_can_be_given_more_devices() -> None:
    one = inventory("vgpu software GPU", driver=SOFT)
    with pytest.raises(DeviceError, match="--soft-devices 2"):
        select_devices(one, load_workload({"gpu-count": "2"}))


def test_models_match_by_word() -> None:
    assert matches_model("NVIDIA A100-SXM4-40GB", "A100")
    assert matches_model("NVIDIA L40S", "l40s")
    assert not matches_model("NVIDIA L40S", "L40")
    assert not matches_model("NVIDIA A100-SXM4-40GB", "A10")


def test_clients_see_renumbered_devices_and_the_quota() -> None:
    shown = shown_devices(FOUR, [1, 3], 1 << 30)
    assert [d.ordinal for d in shown] == [0, 1]
    assert [d.name for d in shown] == ["NVIDIA L40S", "NVIDIA A100-SXM4-40GB"]
    assert [d.total_memory for d in shown] == [1 << 30] * 2
    assert shown_devices(FOUR, [0], None)[0].total_memory == 40 << 30
    assert shown_devices(FOUR, [0], 80 << 30)[0].total_memory == 40 << 30


PROBE = {
    "driver_version": 13000,
    "driver": "soft",
    "images": "ptx",
    "opcodes": [1, 2],
    "devices": [
        {
            "ordinal": 0,
            "name": "vgpu software GPU",
            "uuid": "00112233445566778899aabbccddeeff",
            "total_memory": 1 << 30,
            "attributes": {"75": 13, "76": 0},
            "pci": [0, 1, 0],
            "luid": "later",
        }
    ],
}


def test_probe_output() -> None:
    found = parse_probe("a line of a chatty driver\n" + json.dumps(PROBE) + "\n", SOFT)
    assert (found.driver_version, found.images, found.opcodes) == (13000, "ptx", (1, 2))
    (only,) = found.devices
    assert only.attributes == {75: 13, 76: 0}
    assert only.uuid_text == "GPU-00112233-4455-6677-8899-aabbccddeeff"
    assert only.model_dump()["luid"] == "later"  # passed on to clients that know it


@pytest.mark.parametrize(
    "change",
    [
        {"devices": [{"ordinal": 0}]},
        {"devices": 3},
        {"driver_version": "x"},
        {"driver": "other"},
        {"images": "sass"},
        {"opcodes": 5},
    ],
)
def test_nonsense_from_the_probe_is_a_driver_error(change: dict[str, object]) -> None:
    with pytest.raises(DriverError, match="answered nonsense"):
        parse_probe(json.dumps(PROBE | change), SOFT)


@given(st.one_of(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
    json.dumps)))  # fmt: skip
def test_any_probe_output_is_an_inventory_or_a_driver_error(text: str) -> None:
    with pytest.raises(DriverError):
        parse_probe(text, SOFT)


def test_exits_in_words() -> None:
    assert describe_exit(-9) == "killed by signal 9 (SIGKILL)"
    assert describe_exit(-64) == "killed by signal 64 (SIGRTMAX)"
    assert describe_exit(-63) == "killed by signal 63"
    assert describe_exit(3) == "exited with status 3"
