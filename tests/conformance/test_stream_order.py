"""Default streams, values, host functions and events: who waits for whom."""

import ctypes
import threading

import pytest

from harness import driver as d
from harness import kernels

U32, U64 = ctypes.c_uint32, ctypes.c_uint64
LEGACY, PER_THREAD = 1, 2
BLOCKING, NON_BLOCKING = 0, 1
GEQ, EQ, AND, NOR = range(4)


def word(cuda, address, index=0):
    return int.from_bytes(cuda.download(address + 4 * index, 4), "little")


def start_spinning(cuda, stream):
    """A kernel that ends when flag[0] is set; the flag's address."""
    spin = cuda.function(cuda.module(kernels.ALL), "spin")
    flag = cuda.upload(bytes(8))
    assert cuda.launch(spin, (1, 1, 1), (1, 1, 1), U64(flag), stream=stream) == 0
    return flag


def stop_spinning(cuda, flag):
    helper = cuda.stream(NON_BLOCKING)
    cuda.cuMemsetD32Async(flag, 1, 1, helper)
    cuda.cuStreamSynchronize(helper)


@pytest.mark.parametrize("default", [LEGACY, PER_THREAD])
def test_who_waits_for_the_legacy_stream(cuda, default):
    cuda.start()
    out = cuda.upload(bytes(4))
    blocking, free = cuda.stream(BLOCKING), cuda.stream(NON_BLOCKING)
    flag = start_spinning(cuda, LEGACY)
    cuda.cuMemsetD32Async(out, 1, 1, free)
    cuda.cuStreamSynchronize(free)  # does not wait for the legacy stream
    behind = blocking if default == LEGACY else PER_THREAD
    cuda.cuMemsetD32Async(out, 2, 1, behind)
    assert cuda.code("cuStreamQuery", behind) == d.NOT_READY
    stop_spinning(cuda, flag)
    cuda.cuStreamSynchronize(behind)
    assert word(cuda, out) == 2


def test_threads_have_default_streams_of_their_own(cuda):
    context = cuda.start()
    flag = start_spinning(cuda, PER_THREAD)
    out = cuda.alloc(4)
    done = []

    def other():
        cuda.cuCtxSetCurrent(context)
        cuda.cuMemsetD32Async(out, 3, 1, PER_THREAD)
        cuda.cuStreamSynchronize(PER_THREAD)
        done.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(20)
    assert done
    assert cuda.code("cuStreamQuery", PER_THREAD) == d.NOT_READY
    stop_spinning(cuda, flag)
    cuda.cuStreamSynchronize(PER_THREAD)
    assert (word(cuda, flag, 1), word(cuda, out)) == (7, 3)


@pytest.mark.parametrize(
    ("condition", "wanted", "before", "after"),
    [(GEQ, 5, 4, 6), (GEQ, 0, 0x80000001, 1), (EQ, 5, 6, 5), (AND, 6, 8, 2),
     (NOR, ~2 & 0xFFFFFFFF, 2, 0)],
)  # fmt: skip
def test_streams_wait_for_values(cuda, condition, wanted, before, after):
    cuda.start()
    one, two = cuda.stream(), cuda.stream()
    flag, out = cuda.upload(before.to_bytes(4, "little")), cuda.upload(bytes(4))
    cuda.cuStreamWaitValue32_v2(one, flag, wanted, condition)
    cuda.cuMemsetD32Async(out, 1, 1, one)
    assert cuda.code("cuStreamQuery", one) == d.NOT_READY
    cuda.cuStreamWriteValue32_v2(two, flag, after, 0)
    cuda.cuStreamSynchronize(one)
    assert (word(cuda, flag), word(cuda, out)) == (after, 1)


def test_wide_values(cuda):
    cuda.start()
    one, two = cuda.stream(), cuda.stream()
    flag = cuda.upload(bytes(8))
    wanted = (1 << 40) + 7
    cuda.cuStreamWaitValue64_v2(one, flag, wanted, EQ)
    cuda.cuStreamWriteValue64_v2(two, flag, wanted, 0)
    cuda.cuStreamSynchronize(one)
    assert cuda.download(flag, 8) == wanted.to_bytes(8, "little")
    assert cuda.code("cuStreamWriteValue64_v2", two, flag + 4, 1, 0) == d.INVALID_VALUE
    assert cuda.code("cuStreamWriteValue32_v2", two, 4096, 1, 0) == d.INVALID_VALUE


def test_host_functions_keep_the_order_of_their_stream(cuda):
    cuda.start()
    add = cuda.function(cuda.module(kernels.ALL), "increment")
    stream = cuda.stream()
    counter = cuda.upload(bytes(4))
    address = cuda.out("cuMemHostAlloc", ctypes.c_void_p, 4, 0)
    host = U32.from_address(address)
    seen = []
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda user: seen.append((user, host.value)))
    for number in range(1, 5):
        assert cuda.launch(add, (1, 1, 1), (10, 1, 1), U64(counter), stream=stream) == 0
        cuda.cuMemcpyDtoHAsync_v2(address, counter, 4, stream)
        cuda.cuLaunchHostFunc(stream, function, number)
    cuda.cuStreamSynchronize(stream)
    assert seen == [(number, 10 * number) for number in range(1, 5)]


def test_callbacks_are_told_the_stream_and_the_state(cuda):
    cuda.start()
    stream = cuda.stream()
    seen = []
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(
        lambda *arguments: seen.append(arguments)
    )
    cuda.cuStreamAddCallback(stream, callback, 8, 0)
    cuda.cuStreamSynchronize(stream)
    assert seen == [(stream, 0, 8)]
    assert cuda.code("cuStreamAddCallback", stream, callback, 8, 1) == d.INVALID_VALUE


def elapsed(cuda, start, end):
    value = ctypes.c_float(-1)
    cuda.cuEventElapsedTime(ctypes.byref(value), start, end)
    return value.value


def test_times_of_events(cuda):
    cuda.start()
    burn = cuda.function(cuda.module(kernels.ALL), "burn")
    stream, out = cuda.stream(), cuda.alloc(4)
    events = [cuda.event() for _ in range(3)]
    assert cuda.code("cuEventElapsedTime", ctypes.byref(ctypes.c_float()), *events[:2]) == 400
    for event in events:
        cuda.cuEventRecord(event, stream)
        arguments = U64(out), U32(20_000)
        assert cuda.launch(burn, (1, 1, 1), (1, 1, 1), *arguments, stream=stream) == 0
    cuda.cuStreamSynchronize(stream)
    first, second, whole = (
        elapsed(cuda, events[0], events[1]),
        elapsed(cuda, events[1], events[2]),
        elapsed(cuda, events[0], events[2]),
    )
    assert first > 0
    assert second > 0
    assert whole == pytest.approx(first + second, rel=0.01, abs=0.01)
    assert elapsed(cuda, events[0], events[0]) == 0
    assert elapsed(cuda, events[2], events[0]) == pytest.approx(-whole, rel=0.01, abs=0.01)


def test_events_without_time_or_not_yet_there(cuda):
    cuda.start()
    stream = cuda.stream()
    timed, timeless, late = cuda.event(), cuda.event(2), cuda.event()
    for event in (timed, timeless):
        cuda.cuEventRecord(event, stream)
    cuda.cuStreamSynchronize(stream)
    value = ctypes.c_float()
    code = cuda.code("cuEventElapsedTime", ctypes.byref(value), timed, timeless)
    assert code == d.INVALID_HANDLE
    flag = start_spinning(cuda, stream)
    cuda.cuEventRecord(late, stream)
    code = cuda.code("cuEventElapsedTime", ctypes.byref(value), timed, late)
    assert code == d.NOT_READY
    stop_spinning(cuda, flag)
    cuda.cuEventSynchronize(late)
    assert elapsed(cuda, timed, late) >= 0


def test_priorities(cuda):
    cuda.start()
    least, greatest = ctypes.c_int(), ctypes.c_int()
    cuda.cuCtxGetStreamPriorityRange(ctypes.byref(least), ctypes.byref(greatest))
    assert greatest.value < least.value == 0
    for wanted, expected in ((0, 0), (greatest.value, greatest.value), (50, 0)):
        stream = cuda.out("cuStreamCreateWithPriority", ctypes.c_void_p, NON_BLOCKING, wanted)
        assert cuda.out_last("cuStreamGetPriority", ctypes.c_int, stream) == expected
    assert cuda.out_last("cuStreamGetPriority", ctypes.c_int, LEGACY) == 0
