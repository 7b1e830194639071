import ctypes

from harness import driver as d
from harness import kernels

U64 = ctypes.c_uint64


def capture(cuda, stream, work, mode=2):
    cuda.cuStreamBeginCapture_v2(stream, mode)
    work()
    graph = ctypes.c_void_p()
    cuda.cuStreamEndCapture(stream, ctypes.byref(graph))
    return graph.value


def test_capture_and_replay(cuda):
    cuda.start()
    increment = cuda.function(cuda.module(kernels.ALL), "increment")
    stream, counter = cuda.stream(), cuda.upload(bytes(4))

    def work():
        for _ in range(3):
            assert cuda.launch(increment, (1, 1, 1), (10, 1, 1), U64(counter), stream=stream) == 0

    graph = capture(cuda, stream, work)
    cuda.cuCtxSynchronize()
    assert cuda.download(counter, 4) == bytes(4)  # nothing ran while capturing
    nodes = ctypes.c_size_t()
    cuda.cuGraphGetNodes(graph, None, ctypes.byref(nodes))
    assert nodes.value == 3
    executable = ctypes.c_void_p()
    cuda.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, 0)
    for _ in range(4):
        cuda.cuGraphLaunch(executable, stream)
    cuda.cuStreamSynchronize(stream)
    assert int.from_bytes(cuda.download(counter, 4), "little") == 4 * 3 * 10
    cuda.cuGraphExecDestroy(executable)
    cuda.cuGraphDestroy(graph)


def test_status_while_capturing(cuda):
    cuda.start()
    stream = cuda.stream()
    status = ctypes.c_int(-1)
    cuda.cuStreamIsCapturing(stream, ctypes.byref(status))
    assert status.value == 0
    cuda.cuStreamBeginCapture_v2(stream, 2)
    cuda.cuStreamIsCapturing(stream, ctypes.byref(status))
    assert status.value == 1
    graph = ctypes.c_void_p()
    cuda.cuStreamEndCapture(stream, ctypes.byref(graph))
    cuda.cuStreamIsCapturing(stream, ctypes.byref(status))
    assert status.value == 0
    cuda.cuGraphDestroy(graph)


def test_capture_follows_events(cuda):
    cuda.start()
    increment = cuda.function(cuda.module(kernels.ALL), "increment")
    first, second = cuda.stream(), cuda.stream()
    counter = cuda.upload(bytes(4))
    fork, join = cuda.event(2), cuda.event(2)

    def work():
        cuda.cuEventRecord(fork, first)
        cuda.cuStreamWaitEvent(second, fork, 0)
        status = ctypes.c_int(-1)
        cuda.cuStreamIsCapturing(second, ctypes.byref(status))
        assert status.value == 1
        assert cuda.launch(increment, (1, 1, 1), (10, 1, 1), U64(counter), stream=second) == 0
        cuda.cuEventRecord(join, second)
        cuda.cuStreamWaitEvent(first, join, 0)

    graph = capture(cuda, first, work)
    executable = ctypes.c_void_p()
    cuda.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, 0)
    cuda.cuGraphLaunch(executable, first)
    cuda.cuStreamSynchronize(first)
    assert int.from_bytes(cuda.download(counter, 4), "little") == 10


def test_synchronizing_a_capturing_stream_is_an_error(cuda):
    cuda.start()
    stream = cuda.stream()
    cuda.cuStreamBeginCapture_v2(stream, 2)
    assert cuda.code("cuStreamSynchronize", stream) == 900  # STREAM_CAPTURE_UNSUPPORTED
    graph = ctypes.c_void_p()
    assert cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph)) == 901  # INVALIDATED


def test_asking_for_the_legacy_stream_spares_a_capture(cuda):
    """cuStreamIsCapturing: "The blocking stream capture is not invalidated"; work does that."""
    cuda.start()
    memory = cuda.upload(bytes(4))
    status, graph = ctypes.c_int(), ctypes.c_void_p()
    for spares in (True, False):
        stream = cuda.stream(flags=0)
        cuda.cuStreamBeginCapture_v2(stream, 2)
        if spares:
            code = cuda.code("cuStreamIsCapturing", None, ctypes.byref(status))
        else:
            code = cuda.code("cuMemsetD8Async", memory, 7, 4, None)
        assert code == d.STREAM_CAPTURE_IMPLICIT
        cuda.cuStreamIsCapturing(stream, ctypes.byref(status))
        assert status.value == (1 if spares else 2)
        code = cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph))
        assert code == (d.SUCCESS if spares else d.STREAM_CAPTURE_INVALIDATED)
        cuda.cuStreamIsCapturing(None, ctypes.byref(status))
        assert status.value == 0


def test_end_without_begin(cuda):
    cuda.start()
    stream = cuda.stream()
    graph = ctypes.c_void_p()
    assert cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph)) in (d.INVALID_VALUE, 401)


def test_exchange_of_the_capture_mode(cuda):
    cuda.start()
    mode = ctypes.c_int(2)
    cuda.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))
    assert mode.value == 0
    cuda.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))
    assert mode.value == 2
