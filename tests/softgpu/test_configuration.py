"""VGPU_SOFT_* and the CUDA variables that act at start."""

import ctypes
import itertools
import os

import pytest

from harness import driver as d
from softgpu import child


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("VGPU_SOFT_DEVICES", "many", "0 to 64"),
        ("VGPU_SOFT_DEVICES", "-1", "0 to 64"),
        ("VGPU_SOFT_MEMORY", "4 GB", "512Mi or 8Gi"),
        ("VGPU_SOFT_MEMORY", "1", "1Mi to 4Ti"),
        ("VGPU_SOFT_CC", "blackwell", "MAJOR.MINOR"),
        ("VGPU_SOFT_CC", "13.", "MAJOR.MINOR"),
        ("VGPU_SOFT_SMS", "0", "1 to 1024"),
        ("VGPU_SOFT_DETERMINISTIC", "yes", "0 or 1"),
        ("VGPU_SOFT_KERNEL_TIME_US", "1s", "microseconds"),
        ("VGPU_SOFT_SKIP_SASS", "2", "0 or 1"),
    ],
)
def test_a_malformed_value_is_named_at_init(name, value, allowed):
    def body(cuda):
        assert cuda.code("cuInit", 0) == d.INVALID_VALUE

    errors = child.run(body, **{name: value}).errors
    assert f"{name}={value}" in errors
    assert allowed in errors


def test_devices_are_as_configured():
    def body(cuda):
        cuda.cuInit(0)
        assert cuda.out("cuDeviceGetCount", ctypes.c_int) == 3
        assert cuda.out("cuDeviceTotalMem_v2", ctypes.c_size_t, 2) == 96 << 20
        assert cuda.out("cuDeviceGetAttribute", ctypes.c_int, 75, 0) == 11
        assert cuda.out("cuDeviceGetAttribute", ctypes.c_int, 76, 0) == 2
        assert cuda.out("cuDeviceGetAttribute", ctypes.c_int, 16, 0) == 7
        name = ctypes.create_string_buffer(64)
        cuda.cuDeviceGetName(name, 64, 1)
        assert name.value == b"test device"
        buses = {cuda.out("cuDeviceGetAttribute", ctypes.c_int, 33, i) for i in range(3)}
        assert len(buses) == 3

    child.run(
        body,
        VGPU_SOFT_DEVICES="3",
        VGPU_SOFT_MEMORY="96Mi",
        VGPU_SOFT_CC="11.2",
        VGPU_SOFT_SMS="7",
        VGPU_SOFT_NAME="test device",
    )


def uuid(cuda, ordinal):
    value = (ctypes.c_ubyte * 16)()
    cuda.cuDeviceGetUuid_v2(value, ordinal)
    text = bytes(value).hex()
    cuts = (0, 8, 12, 16, 20, 32)
    return "GPU-" + "-".join(text[a:b] for a, b in itertools.pairwise(cuts))


def all_uuids():
    def body(cuda):
        cuda.cuInit(0)
        os.write(2, "\n".join(uuid(cuda, i) for i in range(4)).encode())

    found = child.run(body, VGPU_SOFT_DEVICES="4").errors.split()
    assert len(set(found)) == 4
    return found


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", [1]),
        ("3,0", [3, 0]),
        ("0,1,-1,2", [0, 1]),
        ("1,9,2", [1]),
        ("", None),
        ("-1", None),
        ("NoDevFiles", None),
        ("2,2", None),
    ],
)
def test_visible_devices(visible, expected):
    uuids = all_uuids()

    def body(cuda):
        if expected is None:
            assert cuda.code("cuInit", 0) == d.NO_DEVICE
            return
        cuda.cuInit(0)
        assert cuda.out("cuDeviceGetCount", ctypes.c_int) == len(expected)
        assert [uuid(cuda, i) for i in range(len(expected))] == [uuids[i] for i in expected]

    child.run(body, VGPU_SOFT_DEVICES="4", CUDA_VISIBLE_DEVICES=visible)


def test_visible_devices_by_uuid_prefix():
    uuids = all_uuids()

    def body(cuda):
        cuda.cuInit(0)
        assert cuda.out("cuDeviceGetCount", ctypes.c_int) == 2
        assert [uuid(cuda, i) for i in range(2)] == [uuids[2], uuids[1]]

    visible = f"{uuids[2][:12]},{uuids[1]}"
    child.run(body, VGPU_SOFT_DEVICES="4", CUDA_VISIBLE_DEVICES=visible)


@pytest.mark.parametrize(("mode", "value"), [("EAGER", 1), ("LAZY", 2), (None, 2)])
def test_loading_mode(mode, value):
    def body(cuda):
        cuda.cuInit(0)
        assert cuda.out("cuModuleGetLoadingMode", ctypes.c_int) == value

    child.run(body, **({"CUDA_MODULE_LOADING": mode} if mode else {}))


def test_the_library_tells_what_it_is():
    def body(cuda):
        mark = cuda.library.vgpu_softgpu_version
        mark.restype = ctypes.c_char_p
        assert mark()

    child.run(body)
