"""What may not happen while a stream is captured, what ends a capture, and what it can be asked."""

import ctypes
import threading

import pytest

from harness import driver as d
from harness import graphs as g
from harness import kernels

U64 = ctypes.c_uint64
GLOBAL, THREAD_LOCAL, RELAXED = range(3)
UNSUPPORTED, INVALIDATED, MERGE, UNMATCHED, UNJOINED, ISOLATION = range(900, 906)
IMPLICIT, CAPTURED_EVENT, WRONG_THREAD = 906, 907, 908
ILLEGAL_STATE = 401


def end(cuda, stream):
    graph = ctypes.c_void_p()
    return cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph))


def unsafe_call(cuda):
    return cuda.code("cuMemAlloc_v2", ctypes.byref(U64()), 256)


def elsewhere(call):
    """What a call returns in a thread that has the device's context."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def in_context(cuda, context, call, mode=None):
    cuda.cuCtxSetCurrent(context)
    if mode is not None:
        cuda.cuThreadExchangeStreamCaptureMode(ctypes.byref(ctypes.c_int(mode)))
    return call(cuda)


@pytest.mark.parametrize("mode", [GLOBAL, THREAD_LOCAL, RELAXED])
def test_unsafe_calls_of_the_capturing_thread(cuda, mode):
    cuda.start()
    stream = cuda.stream()
    cuda.cuStreamBeginCapture_v2(stream, mode)
    expected = 0 if mode == RELAXED else UNSUPPORTED
    assert unsafe_call(cuda) == expected
    assert end(cuda, stream) == (0 if mode == RELAXED else INVALIDATED)
    cuda.cuStreamSynchronize(stream)  # the stream works again


@pytest.mark.parametrize("mode", [GLOBAL, THREAD_LOCAL, RELAXED])
def test_unsafe_calls_of_another_thread(cuda, mode):
    context = cuda.start()
    stream = cuda.stream()
    cuda.cuStreamBeginCapture_v2(stream, mode)
    code = elsewhere(lambda: in_context(cuda, context, unsafe_call))
    assert code == (UNSUPPORTED if mode == GLOBAL else 0)
    assert end(cuda, stream) == (INVALIDATED if mode == GLOBAL else 0)


def test_threads_choose_what_captures_of_others_forbid(cuda):
    context = cuda.start()
    stream = cuda.stream()
    cuda.cuStreamBeginCapture_v2(stream, GLOBAL)
    for mode in (THREAD_LOCAL, RELAXED):
        assert elsewhere(lambda mode=mode: in_context(cuda, context, unsafe_call, mode)) == 0
    mode = ctypes.c_int(RELAXED)
    cuda.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))
    assert unsafe_call(cuda) == 0
    cuda.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))
    assert end(cuda, stream) == 0


def test_only_the_thread_that_began_may_end(cuda):
    context = cuda.start()
    stream = cuda.stream()
    for mode, expected in ((GLOBAL, WRONG_THREAD), (THREAD_LOCAL, WRONG_THREAD), (RELAXED, 0)):
        cuda.cuStreamBeginCapture_v2(stream, mode)
        assert elsewhere(lambda: in_context(cuda, context, lambda c: end(c, stream))) == expected
        if expected:
            assert end(cuda, stream) == 0


def test_the_legacy_stream_must_not_depend_on_captured_work(cuda):
    cuda.start()
    address = cuda.alloc(4)
    blocking, free = cuda.stream(0), cuda.stream(1)
    cuda.cuStreamBeginCapture_v2(free, RELAXED)
    cuda.cuMemsetD32Async(address, 1, 1, None)  # no business of a non-blocking stream
    assert end(cuda, free) == 0
    cuda.cuStreamBeginCapture_v2(blocking, RELAXED)
    assert cuda.code("cuMemsetD32Async", address, 1, 1, None) == IMPLICIT
    assert end(cuda, blocking) == INVALIDATED
    assert cuda.code("cuStreamBeginCapture_v2", None, RELAXED) == UNSUPPORTED


def test_streams_join_and_must_be_joined(cuda):
    cuda.start()
    one, two, event = cuda.stream(), cuda.stream(), cuda.event(2)
    address = cuda.alloc(4)
    cuda.cuStreamBeginCapture_v2(one, RELAXED)
    assert cuda.code("cuStreamBeginCapture_v2", one, RELAXED) == ILLEGAL_STATE
    cuda.cuEventRecord(event, one)
    cuda.cuStreamWaitEvent(two, event, 0)
    cuda.cuMemsetD32Async(address, 1, 1, two)
    assert end(cuda, two) == UNMATCHED
    assert end(cuda, one) == UNJOINED
    status = ctypes.c_int(-1)
    cuda.cuStreamIsCapturing(two, ctypes.byref(status))
    assert status.value == 0


def test_captures_cannot_be_merged(cuda):
    cuda.start()
    one, two, event = cuda.stream(), cuda.stream(), cuda.event(2)
    for stream in (one, two):
        cuda.cuStreamBeginCapture_v2(stream, RELAXED)
    cuda.cuEventRecord(event, one)
    assert cuda.code("cuStreamWaitEvent", two, event, 0) == MERGE
    assert end(cuda, one) == INVALIDATED
    assert end(cuda, two) == INVALIDATED


def test_captured_work_cannot_wait_for_other_work(cuda):
    cuda.start()
    one, two, event = cuda.stream(), cuda.stream(), cuda.event(2)
    cuda.cuEventRecord(event, two)
    cuda.cuStreamBeginCapture_v2(one, RELAXED)
    assert cuda.code("cuStreamWaitEvent", one, event, 0) == ISOLATION
    assert end(cuda, one) == INVALIDATED


def test_events_of_a_capture_cannot_be_waited_for(cuda):
    cuda.start()
    stream, event = cuda.stream(), cuda.event(2)
    cuda.cuStreamBeginCapture_v2(stream, RELAXED)
    cuda.cuEventRecord(event, stream)
    assert cuda.code("cuEventQuery", event) == CAPTURED_EVENT
    assert cuda.code("cuStreamQuery", stream) == UNSUPPORTED
    status = ctypes.c_int(-1)
    cuda.cuStreamIsCapturing(stream, ctypes.byref(status))
    assert status.value == 2  # invalidated
    assert cuda.code("cuMemsetD32Async", cuda.alloc(4), 1, 1, stream) == INVALIDATED
    assert end(cuda, stream) == INVALIDATED


def capture_info(cuda, stream):
    """Status, id, graph and dependencies, from the newest form of the call."""
    status, number, graph = ctypes.c_int(), U64(), ctypes.c_void_p()
    nodes, edges, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_void_p(), ctypes.c_size_t()
    pointers = [ctypes.byref(v) for v in (status, number, graph, nodes, edges, count)]
    cuda.cuStreamGetCaptureInfo_v3(stream, *pointers)
    return status.value, number.value, graph.value, [nodes[i] for i in range(count.value)]


def test_a_capture_tells_its_state(cuda):
    cuda.start()
    stream, address = cuda.stream(), cuda.alloc(4)
    assert capture_info(cuda, stream)[0] == 0
    cuda.cuStreamBeginCapture_v2(stream, RELAXED)
    status, number, graph, nodes = capture_info(cuda, stream)
    assert (status, nodes) == (1, [])
    assert number
    assert graph
    cuda.cuMemsetD32Async(address, 1, 1, stream)
    _, same_number, same_graph, nodes = capture_info(cuda, stream)
    assert (same_number, same_graph, len(nodes)) == (number, graph, 1)
    older = ctypes.c_int(), U64()
    cuda.cuStreamGetCaptureInfo(stream, *map(ctypes.byref, older))
    assert [v.value for v in older] == [1, number]
    assert g.ending_capture(cuda, stream) == graph
    assert g.node_list(cuda, "cuGraphGetNodes", graph) == nodes
    cuda.cuStreamBeginCapture_v2(stream, RELAXED)
    assert capture_info(cuda, stream)[1] != number
    assert end(cuda, stream) == 0


def test_the_program_sets_what_comes_before(cuda):
    cuda.start()
    stream, address = cuda.stream(), cuda.alloc(4)
    cuda.cuStreamBeginCapture_v2(stream, RELAXED)
    cuda.cuMemsetD32Async(address, 1, 1, stream)
    graph = g.Graph(cuda, capture_info(cuda, stream)[2])
    (first,) = graph.nodes()
    replace, add = 1, 0
    cuda.cuStreamUpdateCaptureDependencies(stream, None, 0, replace)
    cuda.cuMemsetD32Async(address, 2, 1, stream)
    second = next(n for n in graph.nodes() if n != first)
    own = graph.empty(first)
    nodes = (ctypes.c_void_p * 1)(own)
    cuda.cuStreamUpdateCaptureDependencies_v2(stream, nodes, None, 1, add)
    assert set(capture_info(cuda, stream)[3]) == {second, own}
    cuda.cuMemsetD32Async(address, 3, 1, stream)
    assert g.ending_capture(cuda, stream) == graph.handle
    (last,) = set(graph.nodes()) - {first, second, own}
    assert set(g.node_list(cuda, "cuGraphNodeGetDependencies", last)) == {second, own}
    assert g.node_list(cuda, "cuGraphNodeGetDependencies", second) == []


def test_capture_into_a_graph(cuda):
    cuda.start()
    add = cuda.function(cuda.module(kernels.ALL), "increment")
    stream, counter = cuda.stream(), cuda.upload(bytes(4))
    graph = g.Graph(cuda)
    first = graph.memset(g.memset_params(counter, 5, 1, 4))
    before = (ctypes.c_void_p * 1)(first)
    cuda.cuStreamBeginCaptureToGraph(stream, graph.handle, before, None, 1, RELAXED)
    assert cuda.launch(add, (1, 1, 1), (10, 1, 1), U64(counter), stream=stream) == 0
    assert g.ending_capture(cuda, stream) == graph.handle
    (last,) = set(graph.nodes()) - {first}
    assert g.node_list(cuda, "cuGraphNodeGetDependencies", last) == [first]
    g.run(cuda, graph.instantiate(), stream, 2)
    assert int.from_bytes(cuda.download(counter, 4), "little") == 15
    cuda.cuStreamBeginCaptureToGraph(stream, graph.handle, None, None, 0, RELAXED)
    assert cuda.code("cuStreamSynchronize", stream) == UNSUPPORTED
    assert end(cuda, stream) == INVALIDATED
    assert len(graph.nodes()) == 2  # the graph is still the program's


def test_bad_modes_are_refused(cuda):
    cuda.start()
    stream = cuda.stream()
    assert cuda.code("cuStreamBeginCapture_v2", stream, 3) == d.INVALID_VALUE
    mode = ctypes.c_int(9)
    code = cuda.code("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
    assert code == d.INVALID_VALUE
