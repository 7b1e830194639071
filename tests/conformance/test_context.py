import ctypes

from harness import driver as d


def test_primary_context_is_one_handle(cuda):
    cuda.cuInit(0)
    first = cuda.out("cuDevicePrimaryCtxRetain", ctypes.c_void_p, 0)
    second = cuda.out("cuDevicePrimaryCtxRetain", ctypes.c_void_p, 0)
    assert first == second
    flags, active = ctypes.c_uint(), ctypes.c_int()
    cuda.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active))
    assert active.value == 1
    cuda.cuDevicePrimaryCtxRelease_v2(0)
    cuda.cuDevicePrimaryCtxRelease_v2(0)
    cuda.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active))
    assert active.value == 0
    assert cuda.code("cuDevicePrimaryCtxRelease_v2", 0) == d.INVALID_CONTEXT


def test_no_current_context(cuda):
    cuda.cuInit(0)
    assert cuda.out("cuCtxGetCurrent", ctypes.c_void_p) is None
    assert cuda.code("cuCtxGetDevice", ctypes.byref(ctypes.c_int())) == d.INVALID_CONTEXT
    assert cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 16) == d.INVALID_CONTEXT
    assert cuda.code("cuCtxSynchronize") == d.INVALID_CONTEXT


def test_stack_of_contexts(cuda):
    context = cuda.start()
    assert cuda.out("cuCtxGetCurrent", ctypes.c_void_p) == context
    other = cuda.out("cuCtxCreate_v2", ctypes.c_void_p, 0, 0)
    assert other != context
    assert cuda.out("cuCtxGetCurrent", ctypes.c_void_p) == other
    assert cuda.out("cuCtxPopCurrent_v2", ctypes.c_void_p) == other
    assert cuda.out("cuCtxGetCurrent", ctypes.c_void_p) == context
    cuda.cuCtxPushCurrent_v2(other)
    assert cuda.out("cuCtxGetDevice", ctypes.c_int) == 0
    cuda.cuCtxDestroy_v2(other)
    assert cuda.code("cuCtxPushCurrent_v2", other) in (d.INVALID_CONTEXT, 709)


def test_context_is_per_thread(cuda):
    import threading

    cuda.start()
    seen = []
    thread = threading.Thread(
        target=lambda: seen.append(cuda.out("cuCtxGetCurrent", ctypes.c_void_p))
    )
    thread.start()
    thread.join()
    assert seen == [None]


def test_reset_frees_memory(cuda):
    cuda.start()
    free = ctypes.c_size_t()
    total = ctypes.c_size_t()
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    before = free.value
    cuda.alloc(64 << 20)
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    assert before - free.value >= 64 << 20
    cuda.cuDevicePrimaryCtxReset_v2(0)
    cuda.start()
    cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    assert before - free.value < 32 << 20


def test_work_on_the_second_device(cuda, route):
    cuda.cuInit(0)
    if cuda.out("cuDeviceGetCount", ctypes.c_int) < 2:
        import pytest

        pytest.skip("one device only: set VGPU_SOFT_DEVICES=2 or use a host with two GPUs")
    cuda.start(1)
    assert cuda.out("cuCtxGetDevice", ctypes.c_int) == 1
    address = cuda.upload(b"second device")
    assert cuda.download(address, 13) == b"second device"
    ordinal = ctypes.c_int(-1)
    cuda.cuPointerGetAttribute(ctypes.byref(ordinal), 9, address)  # DEVICE_ORDINAL
    assert ordinal.value == 1


def test_limits_and_priorities(cuda):
    cuda.start()
    least, greatest = ctypes.c_int(), ctypes.c_int()
    cuda.cuCtxGetStreamPriorityRange(ctypes.byref(least), ctypes.byref(greatest))
    assert greatest.value <= least.value
    assert cuda.out("cuCtxGetLimit", ctypes.c_size_t, 0) > 0  # stack size


def test_context_ids_differ(cuda):
    first = cuda.start()
    second = cuda.out("cuCtxCreate_v2", ctypes.c_void_p, 0, 0)
    ids = [ctypes.c_uint64(), ctypes.c_uint64()]
    cuda.cuCtxGetId(first, ctypes.byref(ids[0]))
    cuda.cuCtxGetId(second, ctypes.byref(ids[1]))
    assert ids[0].value != ids[1].value
