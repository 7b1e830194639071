import ctypes
import os
import threading

import pytest

from harness import driver as d
from harness import kernels

WORDS = 1000


def test_create_query_destroy(cuda):
    cuda.start()
    stream = cuda.stream()
    flags = ctypes.c_uint()
    cuda.cuStreamGetFlags(stream, ctypes.byref(flags))
    assert flags.value == 1
    cuda.cuStreamQuery(stream)
    cuda.cuStreamSynchronize(stream)
    cuda.cuStreamDestroy_v2(stream)
    assert cuda.code("cuStreamSynchronize", stream) in (d.INVALID_HANDLE, 709)


def test_priority_is_clamped(cuda):
    cuda.start()
    least, greatest = ctypes.c_int(), ctypes.c_int()
    cuda.cuCtxGetStreamPriorityRange(ctypes.byref(least), ctypes.byref(greatest))
    stream = cuda.out("cuStreamCreateWithPriority", ctypes.c_void_p, 1, greatest.value - 50)
    priority = ctypes.c_int()
    cuda.cuStreamGetPriority(stream, ctypes.byref(priority))
    assert priority.value == greatest.value


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_default_streams(cuda, stream):
    cuda.start()
    address = cuda.alloc(64)
    cuda.cuMemsetD8Async(address, 9, 64, stream)
    cuda.cuStreamSynchronize(stream)
    assert cuda.download(address, 64) == b"\x09" * 64


def test_order_within_a_stream(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    address, stream = cuda.alloc(4 * WORDS), cuda.stream()
    for value in range(50):
        code = cuda.launch(
            fill, (8, 1, 1), (128, 1, 1), ctypes.c_uint64(address), ctypes.c_uint32(value),
            ctypes.c_uint32(WORDS), stream=stream,
        )  # fmt: skip
        assert code == 0
    cuda.cuStreamSynchronize(stream)
    assert cuda.download(address, 4 * WORDS) == (49).to_bytes(4, "little") * WORDS


def test_event_orders_two_streams(cuda):
    cuda.start()
    burn = cuda.function(cuda.module(kernels.ALL), "burn")
    first, second = cuda.stream(), cuda.stream()
    word, copy = cuda.upload(bytes(4)), cuda.upload(bytes(4))
    event = cuda.event(2)
    rounds = ctypes.c_uint32(200_000)
    assert cuda.launch(burn, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(word), rounds, stream=first) == 0
    cuda.cuEventRecord(event, first)
    cuda.cuStreamWaitEvent(second, event, 0)
    cuda.cuMemcpyDtoDAsync_v2(copy, word, 4, second)
    cuda.cuStreamSynchronize(second)
    assert int.from_bytes(cuda.download(copy, 4), "little") == 200_000


def test_legacy_stream_waits_for_blocking_streams(cuda):
    cuda.start()
    burn = cuda.function(cuda.module(kernels.ALL), "burn")
    blocking = cuda.stream(0)
    word, copy = cuda.upload(bytes(4)), cuda.alloc(4)
    rounds = ctypes.c_uint32(200_000)
    cuda.launch(burn, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(word), rounds, stream=blocking)
    cuda.cuMemcpyDtoDAsync_v2(copy, word, 4, 0)
    cuda.cuStreamSynchronize(0)
    assert int.from_bytes(cuda.download(copy, 4), "little") == 200_000


def test_query_tells_not_ready_then_success(cuda):
    cuda.start()
    spin = cuda.function(cuda.module(kernels.ALL), "spin")
    flag, stream, other = cuda.upload(bytes(8)), cuda.stream(), cuda.stream()
    event = cuda.event(2)
    assert cuda.launch(spin, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(flag), stream=stream) == 0
    cuda.cuEventRecord(event, stream)
    assert cuda.code("cuStreamQuery", stream) == d.NOT_READY
    assert cuda.code("cuEventQuery", event) == d.NOT_READY
    cuda.cuMemsetD32Async(flag, 1, 1, other)
    cuda.cuEventSynchronize(event)
    assert cuda.code("cuStreamQuery", stream) == 0
    assert int.from_bytes(cuda.download(flag + 4, 4), "little") == 7


def test_event_time(cuda):
    cuda.start()
    burn = cuda.function(cuda.module(kernels.ALL), "burn")
    begin, end = cuda.event(), cuda.event()
    word = cuda.alloc(4)
    cuda.cuEventRecord(begin, 0)
    cuda.launch(burn, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(word), ctypes.c_uint32(100_000))
    cuda.cuEventRecord(end, 0)
    cuda.cuEventSynchronize(end)
    elapsed = ctypes.c_float(-1)
    cuda.cuEventElapsedTime(ctypes.byref(elapsed), begin, end)
    assert 0 < elapsed.value < 60_000
    untimed = cuda.event(2)
    cuda.cuEventRecord(untimed, 0)
    code = cuda.code("cuEventElapsedTime", ctypes.byref(elapsed), begin, untimed)
    assert code == d.INVALID_HANDLE


def test_event_never_recorded_is_complete(cuda):
    cuda.start()
    event = cuda.event()
    cuda.cuEventQuery(event)
    cuda.cuEventSynchronize(event)
    cuda.cuEventDestroy_v2(event)
    assert cuda.code("cuEventQuery", event) in (d.INVALID_HANDLE, 709)


def test_download_lands_before_query_succeeds(cuda):
    cuda.start()
    size = 4 << 20
    pinned = cuda.out("cuMemHostAlloc", ctypes.c_void_p, size, 0)
    stream, event = cuda.stream(), cuda.event(2)
    for round_ in range(5):
        value = 17 + round_
        ctypes.memset(pinned, 0, size)
        address = cuda.alloc(size)
        cuda.cuMemsetD8Async(address, value, size, stream)
        cuda.cuMemcpyDtoHAsync_v2(pinned, address, size, stream)
        cuda.cuEventRecord(event, stream)
        while cuda.code("cuEventQuery", event) == d.NOT_READY:
            pass
        assert ctypes.string_at(pinned, size) == bytes([value]) * size
        cuda.cuMemFree_v2(address)


def test_threads_share_a_context(cuda):
    context = cuda.start()
    increment = cuda.function(cuda.module(kernels.ALL), "increment")
    counter = cuda.upload(bytes(4))
    failures = []

    def work():
        try:
            cuda.cuCtxSetCurrent(context)
            stream = cuda.stream()
            for _ in range(20):
                code = cuda.launch(
                    increment, (1, 1, 1), (32, 1, 1), ctypes.c_uint64(counter), stream=stream
                )
                assert code == 0
            cuda.cuStreamSynchronize(stream)
        except BaseException as error:  # reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert int.from_bytes(cuda.download(counter, 4), "little") == 4 * 20 * 32


def test_big_copies_both_ways_at_once(cuda):
    context = cuda.start()
    size = 24 << 20
    data = os.urandom(size)
    source = cuda.upload(data)
    target = cuda.alloc(size)
    results = []

    def down():
        cuda.cuCtxSetCurrent(context)
        results.extend(cuda.download(source, size) == data for _ in range(2))

    def up():
        cuda.cuCtxSetCurrent(context)
        for _ in range(2):
            cuda.cuMemcpyHtoD_v2(target, data, size)
        results.append(cuda.download(target, size) == data)

    threads = [threading.Thread(target=down), threading.Thread(target=up)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 3
