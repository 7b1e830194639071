"""Memory that graphs allocate and free."""

import ctypes

from harness import driver as d
from harness import graphs as g
from harness import kernels

U32, U64 = ctypes.c_uint32, ctypes.c_uint64
SIZE = 1 << 16


def word(cuda, address, index=0):
    return int.from_bytes(cuda.download(address + 4 * index, 4), "little")


def fill(cuda, module, address, value):
    return g.kernel_params(
        cuda.function(module, "fill"), (1, 1, 1), (64, 1, 1), U64(address), U32(value), U32(64)
    )


def scratch_graph(cuda, module, out, value=5):
    """A graph that fills memory of its own, copies it out and frees it; and the address."""
    graph, params = g.Graph(cuda), g.alloc_params(SIZE)
    alloc = graph.alloc(params)
    work = graph.kernel(fill(cuda, module, params.dptr, value), alloc)
    copy = graph.copy(g.copy_params(out, params.dptr, 256), work)
    graph.free(params.dptr, copy)
    return graph, params.dptr


def test_memory_lives_within_a_launch(cuda):
    cuda.start()
    module, stream, out = cuda.module(kernels.ALL), cuda.stream(), cuda.upload(bytes(256))
    graph, address = scratch_graph(cuda, module, out)
    kinds = [g.MEM_ALLOC, g.KERNEL, g.MEMCPY, g.MEM_FREE]
    assert [g.node_type(cuda, n) for n in graph.nodes()] == kinds
    alloc, *_, free = graph.nodes()
    got = g.AllocParams()
    cuda.cuGraphMemAllocNodeGetParams(alloc, ctypes.byref(got))
    assert (got.dptr, got.bytes, got.location_type, got.location_id) == (address, SIZE, 1, 0)
    assert cuda.out_last("cuGraphMemFreeNodeGetParams", U64, free) == address
    g.run(cuda, graph.instantiate(), stream, 3)
    assert word(cuda, out, 63) == 5
    assert cuda.code("cuMemFree_v2", address) == d.INVALID_VALUE  # the graph freed it


def test_memory_that_a_launch_leaves(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    graph, params = g.Graph(cuda), g.alloc_params(SIZE)
    alloc = graph.alloc(params)
    graph.kernel(fill(cuda, module, params.dptr, 6), alloc)
    executable = graph.instantiate()
    assert cuda.code("cuMemFreeAsync", params.dptr, stream) == d.INVALID_VALUE  # not there yet
    g.run(cuda, executable, stream)
    assert word(cuda, params.dptr, 63) == 6
    assert cuda.code("cuGraphLaunch", executable, stream) == d.INVALID_VALUE  # still there
    cuda.cuMemFreeAsync(params.dptr, stream)
    g.run(cuda, executable, stream)
    assert word(cuda, params.dptr, 63) == 6  # at the same address
    cuda.cuMemFree_v2(params.dptr)
    g.run(cuda, executable, stream)
    freeing = g.Graph(cuda)
    freeing.free(params.dptr)
    code = cuda.code("cuGraphAddMemFreeNode", ctypes.byref(ctypes.c_void_p()), graph.handle, None,
                     0, params.dptr)  # fmt: skip
    assert code == d.INVALID_VALUE  # another graph frees it
    again = freeing.instantiate()
    g.run(cuda, again, stream)
    assert cuda.code("cuGraphLaunch", again, stream) == d.INVALID_VALUE
    g.run(cuda, executable, stream)
    cuda.cuGraphExecDestroy(executable)
    cuda.cuGraphDestroy(graph.handle)
    assert word(cuda, params.dptr, 63) == 6  # lives until it is freed
    cuda.cuMemFree_v2(params.dptr)


def test_memory_that_is_freed_while_its_graph_goes(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    for _ in range(20):
        graph, params = g.Graph(cuda), g.alloc_params(SIZE)
        alloc = graph.alloc(params)
        graph.kernel(fill(cuda, module, params.dptr, 6), alloc)
        executable = graph.instantiate()
        cuda.cuGraphLaunch(executable, stream)
        cuda.cuMemFreeAsync(params.dptr, stream)
        cuda.cuGraphExecDestroy(executable)
        cuda.cuGraphDestroy(graph.handle)
        cuda.cuStreamSynchronize(stream)
        assert cuda.code("cuMemFree_v2", params.dptr) == d.INVALID_VALUE


def test_automatic_free(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    graph, params = g.Graph(cuda), g.alloc_params(SIZE)
    alloc = graph.alloc(params)
    graph.kernel(fill(cuda, module, params.dptr, 8), alloc)
    executable = graph.instantiate(g.AUTO_FREE_ON_LAUNCH)
    g.run(cuda, executable, stream, 3)
    assert word(cuda, params.dptr) == 8
    cuda.cuMemFreeAsync(params.dptr, stream)
    cuda.cuStreamSynchronize(stream)


def test_captured_allocations(cuda):
    cuda.start()
    module, stream, out = cuda.module(kernels.ALL), cuda.stream(), cuda.upload(bytes(256))
    addresses = []

    def work():
        address = cuda.out("cuMemAllocAsync", U64, SIZE, stream)
        addresses.append(address)
        function = cuda.function(module, "fill")
        arguments = U64(address), U32(9), U32(64)
        assert cuda.launch(function, (1, 1, 1), (64, 1, 1), *arguments, stream=stream) == 0
        cuda.cuMemcpyDtoDAsync_v2(out, address, 256, stream)
        cuda.cuMemFreeAsync(address, stream)

    graph = g.capture(cuda, stream, work)
    kinds = [g.MEM_ALLOC, g.KERNEL, g.MEMCPY, g.MEM_FREE]
    assert [g.node_type(cuda, n) for n in graph.nodes()] == kinds
    cuda.cuMemsetD8_v2(out, 0, 256)
    executable = graph.instantiate()
    for _ in range(3):
        g.run(cuda, executable, stream)
        assert word(cuda, out, 63) == 9
        cuda.cuMemsetD8_v2(out, 0, 256)
    cuda.cuGraphExecDestroy(executable)
    cuda.cuGraphDestroy(graph.handle)
    eager = cuda.out("cuMemAllocAsync", U64, SIZE, stream)
    cuda.cuStreamBeginCapture_v2(stream, 2)
    assert cuda.code("cuMemFreeAsync", eager, stream) == d.INVALID_VALUE
    cuda.cuGraphDestroy(g.ending_capture(cuda, stream))
    cuda.cuMemFreeAsync(eager, stream)


def test_what_graphs_with_memory_nodes_may_not(cuda):
    cuda.start()
    module, out = cuda.module(kernels.ALL), cuda.upload(bytes(256))
    graph, _ = scratch_graph(cuda, module, out)
    alloc, work, *_ = graph.nodes()
    result = ctypes.c_void_p()
    assert cuda.code("cuGraphClone", ctypes.byref(result), graph.handle) != 0
    assert cuda.code("cuGraphDestroyNode", work) != 0
    one, two = (ctypes.c_void_p * 1)(alloc), (ctypes.c_void_p * 1)(work)
    assert cuda.code("cuGraphRemoveDependencies", graph.handle, one, two, 1) != 0
    outer = g.Graph(cuda)
    code = cuda.code(
        "cuGraphAddChildGraphNode", ctypes.byref(result), outer.handle, None, 0, graph.handle
    )
    assert code != 0
    executable = graph.instantiate()
    assert cuda.code("cuGraphInstantiateWithFlags", ctypes.byref(result), graph.handle, 0) != 0
    cuda.cuGraphExecDestroy(executable)
    graph.instantiate()


def test_graph_memory_is_counted(cuda):
    cuda.start()
    used, used_high, reserved, _reserved_high = range(4)

    def attribute(which):
        return cuda.out_last("cuDeviceGetGraphMemAttribute", U64, 0, which)

    assert attribute(used) == 0
    before = attribute(reserved)
    stream = cuda.stream()
    graph, params = g.Graph(cuda), g.alloc_params(SIZE)
    graph.alloc(params)
    executable = graph.instantiate()
    g.run(cuda, executable, stream)
    assert attribute(used) >= SIZE
    assert attribute(reserved) >= before + SIZE
    cuda.cuMemFreeAsync(params.dptr, stream)
    cuda.cuStreamSynchronize(stream)
    assert attribute(used) == 0
    assert attribute(used_high) >= SIZE
    zero = ctypes.c_uint64(0)
    cuda.cuDeviceSetGraphMemAttribute(0, used_high, ctypes.byref(zero))
    assert attribute(used_high) == 0
    cuda.cuGraphExecDestroy(executable)
    cuda.cuGraphDestroy(graph.handle)
    cuda.cuDeviceGraphMemTrim(0)
    assert attribute(reserved) == before
    assert cuda.code("cuDeviceGraphMemTrim", 99) == d.INVALID_DEVICE
