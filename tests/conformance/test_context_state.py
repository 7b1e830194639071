"""What a context remembers, and what a thread remembers of contexts."""

import ctypes
import threading

import pytest

from harness import driver as d

HANDLE, UINT = ctypes.c_void_p, ctypes.c_uint
SCHED_SPIN, SCHED_YIELD, MAP_HOST = 1, 2, 8


def state(cuda, ordinal=0):
    flags, active = UINT(99), ctypes.c_int(99)
    cuda.cuDevicePrimaryCtxGetState(ordinal, ctypes.byref(flags), ctypes.byref(active))
    return flags.value, active.value


def current(cuda):
    return cuda.out("cuCtxGetCurrent", HANDLE)


def test_flags_of_a_created_context(cuda):
    cuda.cuInit(0)
    cuda.out("cuCtxCreate_v2", HANDLE, SCHED_YIELD, 0)
    assert cuda.out("cuCtxGetFlags", UINT) & 7 == SCHED_YIELD


@pytest.mark.parametrize("flags", [3, 1 << 12])
def test_flags_that_do_not_exist(cuda, flags):
    cuda.cuInit(0)
    assert cuda.code("cuCtxCreate_v2", ctypes.byref(HANDLE()), flags, 0) == d.INVALID_VALUE
    assert cuda.code("cuDevicePrimaryCtxSetFlags_v2", 0, flags) == d.INVALID_VALUE
    assert current(cuda) is None


def test_creating_needs_a_device_and_a_place(cuda):
    cuda.cuInit(0)
    assert cuda.code("cuCtxCreate_v2", ctypes.byref(HANDLE()), 0, 99) == d.INVALID_DEVICE
    assert cuda.code("cuCtxCreate_v2", None, 0, 0) == d.INVALID_VALUE
    assert cuda.code("cuDevicePrimaryCtxRetain", ctypes.byref(HANDLE()), 99) == d.INVALID_DEVICE


def test_flags_of_the_primary_context(cuda):
    cuda.cuInit(0)
    cuda.cuDevicePrimaryCtxSetFlags_v2(0, SCHED_SPIN)
    flags, active = state(cuda)
    assert (flags & 7, active) == (SCHED_SPIN, 0)
    cuda.start()
    assert state(cuda)[1] == 1
    assert cuda.out("cuCtxGetFlags", UINT) & 7 == SCHED_SPIN


def test_a_reset_does_not_release(cuda):
    context = cuda.start()
    cuda.alloc(64)
    cuda.cuDevicePrimaryCtxReset_v2(0)
    assert state(cuda)[1] == 0
    assert cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 64) in (
        d.CONTEXT_IS_DESTROYED,
        d.INVALID_CONTEXT,
    )
    assert cuda.out("cuDevicePrimaryCtxRetain", HANDLE, 0) == context
    assert state(cuda)[1] == 1
    cuda.cuCtxSetCurrent(context)
    cuda.alloc(64)
    cuda.cuDevicePrimaryCtxRelease_v2(0)
    assert state(cuda)[1] == 1
    cuda.cuDevicePrimaryCtxRelease_v2(0)
    assert state(cuda)[1] == 0


def test_a_released_primary_context_is_gone_for_those_who_use_it(cuda):
    context = cuda.start()
    cuda.cuDevicePrimaryCtxRelease_v2(0)
    assert current(cuda) == context
    assert cuda.code("cuCtxSynchronize") == d.CONTEXT_IS_DESTROYED
    assert cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 64) == d.CONTEXT_IS_DESTROYED


def test_stack(cuda):
    first = cuda.start()
    second = cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    cuda.cuCtxPushCurrent_v2(first)
    cuda.cuCtxPushCurrent_v2(first)
    assert [cuda.out("cuCtxPopCurrent_v2", HANDLE) for _ in range(4)] == [
        first, first, second, first,
    ]  # fmt: skip
    assert current(cuda) is None
    assert cuda.code("cuCtxPopCurrent_v2", ctypes.byref(HANDLE())) == d.INVALID_CONTEXT
    assert cuda.code("cuCtxPushCurrent_v2", None) == d.INVALID_CONTEXT
    cuda.cuCtxSetCurrent(second)
    cuda.cuCtxSetCurrent(first)  # replaces the top
    cuda.cuCtxPopCurrent_v2(None)
    assert current(cuda) is None
    cuda.cuCtxSetCurrent(None)


def test_setting_none_pops(cuda):
    first = cuda.start()
    cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    cuda.cuCtxSetCurrent(None)
    assert current(cuda) == first


def test_a_primary_context_is_not_destroyed_by_hand(cuda):
    context = cuda.start()
    assert cuda.code("cuCtxDestroy_v2", context) == d.INVALID_CONTEXT
    assert cuda.code("cuCtxDestroy_v2", None) == d.INVALID_CONTEXT
    cuda.alloc(64)


def test_destroyed_while_current_in_another_thread(cuda):
    cuda.start()
    created = cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    cuda.cuCtxPopCurrent_v2(None)
    pushed, destroyed = threading.Event(), threading.Event()
    seen = []

    def other():
        cuda.cuCtxPushCurrent_v2(created)
        pushed.set()
        destroyed.wait(30)
        seen.append(current(cuda))
        seen.append(cuda.code("cuCtxSynchronize"))
        seen.append(cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 64))
        seen.append(cuda.code("cuCtxGetDevice", ctypes.byref(ctypes.c_int())))

    thread = threading.Thread(target=other)
    thread.start()
    pushed.wait(30)
    cuda.cuCtxDestroy_v2(created)
    destroyed.set()
    thread.join()
    gone = d.CONTEXT_IS_DESTROYED
    assert seen == [created, gone, gone, gone]


def test_cache_configuration(cuda):
    cuda.start()
    assert cuda.out("cuCtxGetCacheConfig", ctypes.c_int) == 0
    cuda.cuCtxSetCacheConfig(2)
    assert cuda.out("cuCtxGetCacheConfig", ctypes.c_int) == 2
    assert cuda.code("cuCtxSetCacheConfig", 9) == d.INVALID_VALUE
    assert cuda.code("cuCtxGetCacheConfig", None) == d.INVALID_VALUE
    assert cuda.code("cuCtxSetSharedMemConfig", 9) == d.INVALID_VALUE
    assert cuda.out("cuCtxGetSharedMemConfig", ctypes.c_int) == 1  # four-byte banks


def test_api_version(cuda):
    context = cuda.start()
    version = UINT()
    for handle in (context, None):
        cuda.cuCtxGetApiVersion(handle, ctypes.byref(version))
        assert version.value == 3020
    assert cuda.code("cuCtxGetApiVersion", context, None) == d.INVALID_VALUE


def test_limits(cuda):
    cuda.start()
    stack, printf, heap = 0, 1, 2
    size = ctypes.c_size_t
    assert cuda.out("cuCtxGetLimit", size, stack) == 1024
    assert cuda.out("cuCtxGetLimit", size, heap) == 8 << 20
    assert cuda.out("cuCtxGetLimit", size, printf) >= 1 << 20
    cuda.cuCtxSetLimit(heap, 32 << 20)
    assert cuda.out("cuCtxGetLimit", size, heap) >= 32 << 20
    cuda.cuCtxSetLimit(stack, 4096)
    assert cuda.out("cuCtxGetLimit", size, stack) == 4096
    assert cuda.code("cuCtxGetLimit", ctypes.byref(size()), 999) == 215  # UNSUPPORTED_LIMIT
    assert cuda.code("cuCtxSetLimit", 999, 1) == 215
    assert cuda.code("cuCtxGetLimit", None, stack) == d.INVALID_VALUE


def test_limits_belong_to_one_context(cuda):
    cuda.start()
    cuda.cuCtxSetLimit(0, 8192)
    cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    assert cuda.out("cuCtxGetLimit", ctypes.c_size_t, 0) == 1024
    cuda.cuCtxPopCurrent_v2(None)
    assert cuda.out("cuCtxGetLimit", ctypes.c_size_t, 0) == 8192


def test_harmless_calls(cuda):
    cuda.start()
    cuda.cuCtxResetPersistingL2Cache()
    cuda.cuProfilerStart()
    cuda.cuProfilerStop()


def test_objects_die_with_their_context(cuda):
    cuda.start()
    created = cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    stream, event, memory = cuda.stream(), cuda.event(), cuda.alloc(64)
    cuda.cuCtxDestroy_v2(created)
    gone = (d.INVALID_HANDLE, d.CONTEXT_IS_DESTROYED)
    assert cuda.code("cuStreamSynchronize", stream) in gone
    assert cuda.code("cuEventQuery", event) in gone
    assert cuda.code("cuMemFree_v2", memory) == d.INVALID_VALUE
    kind = UINT()
    assert cuda.code("cuPointerGetAttribute", ctypes.byref(kind), 2, memory) == d.INVALID_VALUE
