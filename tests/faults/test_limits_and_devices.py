"""Quota, device lists and visibility, as a program sees them through a worker."""

import pytest

from harness import workers
from harness.clients import client, run

GIB = 1 << 30
DEVICES = """
cuda.cuInit(0)
for i in range(cuda.out("cuDeviceGetCount", ctypes.c_int)):
    uuid = ctypes.create_string_buffer(16)
    cuda.cuDeviceGetUuid_v2(uuid, i)
    print(uuid.raw.hex())
"""


@pytest.fixture(scope="module")
def two_devices():
    with workers.worker("--soft-devices", "2", "--gpu-count", "2") as running:
        yield running.address


def test_gpu_count_shows_two_devices(two_devices):
    assert len(run(two_devices, DEVICES).splitlines()) == 2


@pytest.mark.parametrize("indices", ["0,1", "1,0"])
def test_indices_are_shown_in_physical_order(two_devices, indices):
    flags = ("--soft-devices", "2", "--gpu-count", "2", "--gpu-indices", indices)
    with workers.worker(*flags) as running:
        assert run(running.address, DEVICES) == run(two_devices, DEVICES)


def test_one_index_shows_that_device(two_devices):
    with workers.worker("--soft-devices", "2", "--gpu-indices", "1") as running:
        assert run(running.address, DEVICES) == run(two_devices, DEVICES).splitlines()[1]


def test_visible_devices(two_devices):
    both = run(two_devices, DEVICES).splitlines()
    assert run(two_devices, DEVICES, CUDA_VISIBLE_DEVICES="1") == both[1]
    assert run(two_devices, DEVICES, CUDA_VISIBLE_DEVICES="1,0").splitlines() == both[::-1]
    digits = both[1]
    uuid = "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])
    assert run(two_devices, DEVICES, CUDA_VISIBLE_DEVICES=f"GPU-{uuid}") == both[1]
    assert run(two_devices, DEVICES, CUDA_VISIBLE_DEVICES="0,7,1") == both[0]


@pytest.mark.parametrize("visible", ["", "-1"])
def test_no_visible_device(two_devices, visible):
    body = "print(cuda.code('cuInit', 0))"
    assert run(two_devices, body, CUDA_VISIBLE_DEVICES=visible) == "100"


def test_work_on_the_second_device_runs_there(two_devices):
    body = """
cuda.start(1)
free, total = ctypes.c_size_t(), ctypes.c_size_t()
before = []
for device in (0, 1):
    cuda.start(device)
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    before.append(free.value)
cuda.alloc(256 << 20)
after = []
for device in (0, 1):
    cuda.start(device)
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    after.append(free.value)
print(before[0] - after[0], before[1] - after[1])
"""
    assert run(two_devices, body) == f"0 {256 << 20}"


LIMIT = """
cuda.start()
total = cuda.out("cuDeviceTotalMem_v2", ctypes.c_size_t, 0)
whole = cuda.alloc(1 << 30)
code = cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 1)
cuda.cuMemFree_v2(whole)
cuda.alloc(512 << 20)
print(total, code)
"""


def test_the_quota_is_exact():
    with workers.worker("--vram-limit", "1Gi", environment={"VGPU_SOFT_MEMORY": "2Gi"}) as running:
        assert run(running.address, LIMIT) == f"{GIB} 2"
        more = (
            "cuda.start(); print(cuda.code('cuMemAlloc_v2', ctypes.byref(ctypes.c_uint64()), {}))"
        )
        assert run(running.address, more.format(GIB + 1)) == "2"


def test_requests_count_rounded_up_to_512_bytes():
    body = """
cuda.start()
cuda.alloc(1)
code = cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), (1 << 30) - 511)
cuda.alloc((1 << 30) - 512)
print(code)
"""
    with workers.worker("--vram-limit", "1Gi", environment={"VGPU_SOFT_MEMORY": "2Gi"}) as running:
        assert run(running.address, body) == "2"


def test_two_clients_share_the_quota():
    holder = """
cuda.start()
cuda.alloc(700 << 20)
print("held", flush=True)
sys.stdin.readline()
"""
    wanted = """
import time
cuda.start()
end = time.monotonic() + {patience}
while True:
    code = cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 400 << 20)
    if code == 0 or time.monotonic() > end:
        break
print(code)
"""
    with workers.worker("--vram-limit", "1Gi", environment={"VGPU_SOFT_MEMORY": "2Gi"}) as running:
        first = client(running.address, holder)
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        assert run(running.address, wanted.format(patience=0)) == "2"
        first.kill()  # without a goodbye: its bytes come back all the same
        first.communicate()
        assert run(running.address, wanted.format(patience=20)) == "0"
