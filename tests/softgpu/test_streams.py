"""Host functions, callbacks, value operations and the default streams of threads."""

import ctypes
import threading

from harness import driver as d
from harness import kernels
from softgpu import child

HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def test_host_functions_run_in_stream_order():
    def body(cuda):
        cuda.start()
        stream, seen = cuda.stream(), []
        word = cuda.upload(bytes(4))
        host = ctypes.create_string_buffer(4)
        cuda.cuMemHostRegister_v2(host, 4, 0)
        add = HostFunction(lambda user: seen.append((user, host.raw)))
        for i in range(1, 4):
            cuda.cuMemsetD32Async(word, i, 1, stream)
            cuda.cuMemcpyDtoHAsync_v2(host, word, 4, stream)
            cuda.cuLaunchHostFunc(stream, add, i)
        cuda.cuStreamSynchronize(stream)
        assert seen == [(i, bytes([i, 0, 0, 0])) for i in range(1, 4)]

    child.run(body)


def test_callback_gets_the_error_of_a_failed_context():
    def body(cuda):
        cuda.start()
        stream, seen = cuda.stream(), []
        callback = Callback(lambda handle, code, user: seen.append((handle, code, user)))
        cuda.cuStreamAddCallback(stream, callback, 5, 0)
        cuda.cuStreamSynchronize(stream)
        wild = cuda.function(cuda.module(kernels.ALL), "wild")
        release = threading.Event()
        wait = HostFunction(lambda user: release.wait())
        cuda.cuLaunchHostFunc(stream, wait, None)
        cuda.launch(wild, (1, 1, 1), (1, 1, 1), stream=stream)
        cuda.cuStreamAddCallback(stream, callback, 6, 0)
        release.set()
        assert cuda.code("cuStreamSynchronize", stream) == d.ILLEGAL_ADDRESS
        assert seen == [(stream, 0, 5), (stream, d.ILLEGAL_ADDRESS, 6)]

    child.run(body)


def test_wait_value_holds_a_stream_until_another_writes():
    def body(cuda):
        cuda.start()
        waiting, writing = cuda.stream(), cuda.stream()
        flag, word = cuda.upload(bytes(8)), cuda.upload(bytes(4))
        cuda.cuStreamWaitValue32_v2(waiting, flag, 3, 0)
        cuda.cuMemsetD32Async(word, 7, 1, waiting)
        assert cuda.code("cuStreamQuery", waiting) == d.NOT_READY
        cuda.cuStreamWriteValue32_v2(writing, flag, 3, 0)
        cuda.cuStreamSynchronize(waiting)
        assert cuda.download(word, 4) == b"\x07\0\0\0"

    child.run(body)


def test_each_thread_has_its_own_default_stream():
    def body(cuda):
        context = cuda.start()
        numbers = []

        def look():
            cuda.cuCtxSetCurrent(context)
            for stream in (2, 1):
                number = ctypes.c_uint64()
                cuda.cuStreamGetId(stream, ctypes.byref(number))
                numbers.append(number.value)

        for _ in range(2):
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        assert numbers[0] != numbers[2]
        assert numbers[1] == numbers[3]

    child.run(body)


def test_non_blocking_streams_pass_the_legacy_stream():
    def body(cuda):
        cuda.start()
        spin = cuda.function(cuda.module(kernels.ALL), "spin")
        flag = cuda.upload(bytes(8))
        free, blocked = cuda.stream(1), cuda.stream(0)
        cuda.launch(spin, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(flag))  # legacy stream
        word = cuda.out("cuMemHostAlloc", ctypes.c_void_p, 4, 0)
        cuda.cuMemsetD32Async(word, 1, 1, blocked)
        assert cuda.code("cuStreamQuery", blocked) == d.NOT_READY
        cuda.cuMemsetD32Async(flag, 1, 1, free)
        cuda.cuStreamSynchronize(blocked)
        assert cuda.code("cuStreamQuery", 0) == 0

    child.run(body)


def test_handles_are_never_reused():
    def body(cuda):
        cuda.start()
        old = cuda.stream()
        cuda.cuStreamDestroy_v2(old)
        assert cuda.stream() != old
        assert cuda.code("cuStreamSynchronize", old) == d.INVALID_HANDLE
        event = cuda.event()
        assert cuda.code("cuStreamSynchronize", event) == d.INVALID_HANDLE

    child.run(body)


def test_destroyed_stream_finishes_its_work():
    def body(cuda):
        cuda.start()
        stream, word = cuda.stream(), cuda.upload(bytes(4))
        release = threading.Event()
        wait = HostFunction(lambda user: release.wait())
        cuda.cuLaunchHostFunc(stream, wait, None)
        cuda.cuMemsetD32Async(word, 5, 1, stream)
        done = cuda.event()
        cuda.cuEventRecord(done, stream)
        cuda.cuStreamDestroy_v2(stream)
        release.set()
        cuda.cuEventSynchronize(done)
        assert cuda.download(word, 4) == b"\x05\0\0\0"

    child.run(body)
