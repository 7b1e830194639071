"""Instances that take on what another graph says."""

import ctypes

from harness import graphs as g
from harness import kernels

U32, U64 = ctypes.c_uint32, ctypes.c_uint64
UPDATE_FAILURE = 910
TOPOLOGY_CHANGED, TYPE_CHANGED, PARAMETERS_CHANGED = 2, 3, 5


class Info(ctypes.Structure):
    """CUgraphExecUpdateResultInfo."""

    _fields_ = (
        ("result", ctypes.c_int),
        ("node", ctypes.c_void_p),
        ("source", ctypes.c_void_p),
    )


def word(cuda, address):
    return int.from_bytes(cuda.download(address, 4), "little")


def chain(cuda, add, counter, *threads):
    """Nodes one after the other, each of which adds so many to the counter."""
    graph, last = g.Graph(cuda), ()
    for count in threads:
        params = g.kernel_params(add, (1, 1, 1), (count, 1, 1), U64(counter))
        last = (graph.kernel(params, *last),)
    return graph


def test_an_update_changes_what_the_instance_does(cuda):
    cuda.start()
    add = cuda.function(cuda.module(kernels.ALL), "increment")
    stream, counter, other = cuda.stream(), cuda.upload(bytes(4)), cuda.upload(bytes(4))
    first, second = chain(cuda, add, counter, 1, 2), chain(cuda, add, other, 10, 20)
    executable = first.instantiate()
    g.run(cuda, executable, stream)
    info = Info()
    cuda.cuGraphExecUpdate_v2(executable, second.handle, ctypes.byref(info))
    assert info.result == 0
    cuda.cuGraphDestroy(second.handle)
    g.run(cuda, executable, stream)
    assert (word(cuda, counter), word(cuda, other)) == (3, 30)
    # The instance still answers to the nodes that it was made from.
    params = g.kernel_params(add, (1, 1, 1), (5, 1, 1), U64(counter))
    cuda.cuGraphExecKernelNodeSetParams_v2(executable, first.nodes()[0], ctypes.byref(params))
    g.run(cuda, executable, stream)
    assert (word(cuda, counter), word(cuda, other)) == (8, 50)


def test_an_update_of_captured_work(cuda):
    cuda.start()
    add = cuda.function(cuda.module(kernels.ALL), "increment")
    stream, counter = cuda.stream(), cuda.upload(bytes(4))

    def work(threads):
        assert cuda.launch(add, (1, 1, 1), (threads, 1, 1), U64(counter), stream=stream) == 0

    executable = g.capture(cuda, stream, lambda: work(1)).instantiate()
    for threads in (10, 100):
        graph = g.capture(cuda, stream, lambda threads=threads: work(threads))
        result = ctypes.c_int(-1)
        node = ctypes.c_void_p()
        cuda.cuGraphExecUpdate(executable, graph.handle, ctypes.byref(node), ctypes.byref(result))
        assert result.value == 0
        g.run(cuda, executable, stream)
    assert word(cuda, counter) == 110


def failed(cuda, executable, graph):
    info = Info()
    code = cuda.code("cuGraphExecUpdate_v2", executable, graph.handle, ctypes.byref(info))
    assert code == UPDATE_FAILURE
    return info


def test_updates_that_do_not_fit(cuda):
    cuda.start()
    add = cuda.function(cuda.module(kernels.ALL), "increment")
    stream, counter = cuda.stream(), cuda.upload(bytes(4))
    executable = chain(cuda, add, counter, 1, 2).instantiate()
    info = failed(cuda, executable, chain(cuda, add, counter, 1, 2, 3))
    assert (info.result, info.node) == (TOPOLOGY_CHANGED, None)
    loose = chain(cuda, add, counter, 1)
    second = loose.kernel(g.kernel_params(add, (1, 1, 1), (1, 1, 1), U64(counter)))
    info = failed(cuda, executable, loose)
    assert (info.result, info.node) == (TOPOLOGY_CHANGED, second)
    mixed = chain(cuda, add, counter, 1)
    second = mixed.memset(g.memset_params(counter, 0, 1, 4), mixed.nodes()[0])
    info = failed(cuda, executable, mixed)
    assert (info.result, info.node) == (TYPE_CHANGED, second)
    g.run(cuda, executable, stream)
    assert word(cuda, counter) == 3  # as it was


def test_two_dimensional_memsets_keep_their_shape(cuda):
    cuda.start()
    stream, out = cuda.stream(), cuda.upload(bytes(64))

    def graph_of(value, width):
        graph = g.Graph(cuda)
        graph.memset(g.MemsetParams(out, 16, value, 1, width, 3))
        return graph

    executable = graph_of(1, 4).instantiate()
    assert failed(cuda, executable, graph_of(1, 5)).result == PARAMETERS_CHANGED
    cuda.cuGraphExecUpdate_v2(executable, graph_of(2, 4).handle, ctypes.byref(Info()))
    g.run(cuda, executable, stream)
    assert cuda.download(out, 48) == (bytes([2] * 4) + bytes(12)) * 3
