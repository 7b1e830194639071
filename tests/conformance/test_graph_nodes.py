"""Graphs built node by node, and nodes read and changed."""

import ctypes

import pytest

from harness import driver as d
from harness import graphs as g
from harness import kernels

U32, U64 = ctypes.c_uint32, ctypes.c_uint64


def word(cuda, address, index=0):
    return int.from_bytes(cuda.download(address + 4 * index, 4), "little")


def filler(cuda, module, address, value, count=64):
    function = cuda.function(module, "fill")
    return g.kernel_params(function, (1, 1, 1), (64, 1, 1), U64(address), U32(value), U32(count))


def adder(cuda, module, counter, threads=10):
    return g.kernel_params(
        cuda.function(module, "increment"), (1, 1, 1), (threads, 1, 1), U64(counter)
    )


def test_nodes_run_after_what_they_depend_on(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter, copy = cuda.upload(bytes(4)), cuda.alloc(4)
    graph = g.Graph(cuda)
    last = graph.copy(g.copy_params(copy, counter, 4))
    add = graph.kernel(adder(cuda, module, counter))
    first = graph.memset(g.memset_params(counter, 5, 1, 4))
    pairs = (ctypes.c_void_p * 2)(first, add), (ctypes.c_void_p * 2)(add, last)
    cuda.cuGraphAddDependencies(graph.handle, *pairs, 2)
    assert [g.node_type(cuda, n) for n in graph.nodes()] == [g.MEMCPY, g.KERNEL, g.MEMSET]
    assert g.node_list(cuda, "cuGraphGetRootNodes", graph.handle) == [first]
    assert g.node_list(cuda, "cuGraphNodeGetDependencies", last) == [add]
    assert g.node_list(cuda, "cuGraphNodeGetDependentNodes", first) == [add]
    g.run(cuda, graph.instantiate(), stream, 3)
    assert word(cuda, copy) == 15  # each launch sets 5 first


def test_edges_can_be_taken_away_and_cycles_are_refused(cuda):
    cuda.start()
    graph = g.Graph(cuda)
    a, b = graph.empty(), graph.empty()
    one, two = (ctypes.c_void_p * 1)(a), (ctypes.c_void_p * 1)(b)
    cuda.cuGraphAddDependencies(graph.handle, one, two, 1)
    assert cuda.code("cuGraphAddDependencies", graph.handle, one, two, 1) == d.INVALID_VALUE
    cuda.cuGraphAddDependencies(graph.handle, two, one, 1)
    executable = ctypes.c_void_p()
    code = cuda.code("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph.handle, 0)
    assert code == d.INVALID_VALUE
    cuda.cuGraphRemoveDependencies(graph.handle, two, one, 1)
    assert cuda.code("cuGraphRemoveDependencies", graph.handle, two, one, 1) == d.INVALID_VALUE
    count = ctypes.c_size_t(2)
    sources, targets = (ctypes.c_void_p * 2)(), (ctypes.c_void_p * 2)()
    cuda.cuGraphGetEdges(graph.handle, sources, targets, ctypes.byref(count))
    assert (count.value, sources[0], targets[0]) == (1, a, b)
    graph.instantiate()


def test_kernel_nodes_give_and_take_parameters(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    out = cuda.upload(bytes(256))
    graph = g.Graph(cuda)
    node = graph.kernel(filler(cuda, module, out, 7, 10))
    got = g.KernelParams()
    cuda.cuGraphKernelNodeGetParams_v2(node, ctypes.byref(got))
    assert got.func == cuda.function(module, "fill")
    assert (list(got.grid), list(got.block), got.shared) == ([1, 1, 1], [64, 1, 1], 0)
    assert ctypes.cast(got.parameters[0], ctypes.POINTER(U64))[0] == out
    assert ctypes.cast(got.parameters[1], ctypes.POINTER(U32))[0] == 7
    executable = graph.instantiate()
    changed = filler(cuda, module, out, 9, 20)
    cuda.cuGraphKernelNodeSetParams_v2(node, ctypes.byref(changed))
    g.run(cuda, executable, stream)  # the instance is its own
    assert (word(cuda, out, 9), word(cuda, out, 10)) == (7, 0)
    g.run(cuda, graph.instantiate(), stream)
    assert (word(cuda, out, 19), word(cuda, out, 20)) == (9, 0)
    changed = filler(cuda, module, out, 11, 30)
    cuda.cuGraphExecKernelNodeSetParams_v2(executable, node, ctypes.byref(changed))
    g.run(cuda, executable, stream)
    assert (word(cuda, out, 29), word(cuda, out, 30)) == (11, 0)
    changed.block[0] = 4096
    code = cuda.code("cuGraphKernelNodeSetParams_v2", node, ctypes.byref(changed))
    assert code == d.INVALID_VALUE
    assert cuda.code("cuGraphMemsetNodeGetParams", node, ctypes.byref(g.MemsetParams())) == 1


def test_first_form_of_kernel_nodes(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter = cuda.upload(bytes(4))
    graph = g.Graph(cuda)
    params = adder(cuda, module, counter)
    node = cuda.out(
        "cuGraphAddKernelNode", ctypes.c_void_p, graph.handle, None, 0, ctypes.byref(params)
    )
    params.block[0] = 3
    cuda.cuGraphKernelNodeSetParams(node, ctypes.byref(params))
    got = g.KernelParams()
    cuda.cuGraphKernelNodeGetParams(node, ctypes.byref(got))
    assert got.block[0] == 3
    executable = graph.instantiate()
    g.run(cuda, executable, stream)
    params.block[0] = 5
    cuda.cuGraphExecKernelNodeSetParams(executable, node, ctypes.byref(params))
    g.run(cuda, executable, stream)
    assert word(cuda, counter) == 8


def test_memset_nodes_give_and_take_parameters(cuda):
    cuda.start()
    stream, out = cuda.stream(), cuda.upload(bytes(16))
    graph = g.Graph(cuda)
    node = graph.memset(g.memset_params(out, 0x1234, 2, 2))
    got = g.MemsetParams()
    cuda.cuGraphMemsetNodeGetParams(node, ctypes.byref(got))
    assert (got.dst, got.value, got.element, got.width, got.height) == (out, 0x1234, 2, 2, 1)
    executable = graph.instantiate()
    g.run(cuda, executable, stream)
    assert cuda.download(out, 8) == bytes.fromhex("3412341200000000")
    context = cuda.out("cuCtxGetCurrent", ctypes.c_void_p)
    changed = g.memset_params(out, 0xAB, 3)
    cuda.cuGraphExecMemsetNodeSetParams(executable, node, ctypes.byref(changed), context)
    g.run(cuda, executable, stream)
    assert cuda.download(out, 4) == bytes.fromhex("ababab12")
    changed = g.memset_params(out, 0, 16)
    cuda.cuGraphMemsetNodeSetParams(node, ctypes.byref(changed))
    g.run(cuda, graph.instantiate(), stream)
    assert cuda.download(out, 4) == bytes(4)


def test_copy_nodes_give_and_take_parameters(cuda):
    cuda.start()
    stream = cuda.stream()
    source, out = cuda.upload(bytes(range(16))), cuda.upload(bytes(16))
    graph = g.Graph(cuda)
    node = graph.copy(g.copy_params(out, source, 4))
    got = g.CopyParams()
    cuda.cuGraphMemcpyNodeGetParams(node, ctypes.byref(got))
    assert (got.width, got.src.type, got.src.device, got.dst.device) == (4, 2, source, out)
    executable = graph.instantiate()
    context = cuda.out("cuCtxGetCurrent", ctypes.c_void_p)
    changed = g.copy_params(out, source + 8, 8)
    cuda.cuGraphExecMemcpyNodeSetParams(executable, node, ctypes.byref(changed), context)
    g.run(cuda, executable, stream)
    assert cuda.download(out, 16) == bytes(range(8, 16)) + bytes(8)
    cuda.cuGraphMemcpyNodeSetParams(node, ctypes.byref(g.copy_params(out, source, 16)))
    g.run(cuda, graph.instantiate(), stream)
    assert cuda.download(out, 16) == bytes(range(16))


def test_disabled_nodes_do_nothing(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter = cuda.upload(bytes(4))
    graph = g.Graph(cuda)
    node = graph.kernel(adder(cuda, module, counter))
    empty = graph.empty(node)
    executable = graph.instantiate()
    enabled = ctypes.c_uint(9)
    cuda.cuGraphNodeGetEnabled(executable, node, ctypes.byref(enabled))
    assert enabled.value == 1
    cuda.cuGraphNodeSetEnabled(executable, node, 0)
    cuda.cuGraphNodeGetEnabled(executable, node, ctypes.byref(enabled))
    assert enabled.value == 0
    g.run(cuda, executable, stream)
    assert word(cuda, counter) == 0
    cuda.cuGraphNodeSetEnabled(executable, node, 1)
    g.run(cuda, executable, stream)
    assert word(cuda, counter) == 10
    assert cuda.code("cuGraphNodeSetEnabled", executable, empty, 0) == d.INVALID_VALUE


def test_child_graphs(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter = cuda.upload(bytes(4))
    inner, outer = g.Graph(cuda), g.Graph(cuda)
    inner.kernel(adder(cuda, module, counter, 10))
    node = outer.child(inner.handle, outer.memset(g.memset_params(counter, 1, 1, 4)))
    inner.kernel(adder(cuda, module, counter, 1000))  # the node has a copy
    embedded = cuda.out_last("cuGraphChildGraphNodeGetGraph", ctypes.c_void_p, node)
    assert embedded != inner.handle
    assert cuda.code("cuGraphDestroy", embedded) == d.INVALID_VALUE  # the node's
    (add,) = g.node_list(cuda, "cuGraphGetNodes", embedded)
    executable = outer.instantiate()
    g.run(cuda, executable, stream)
    assert word(cuda, counter) == 11
    params = adder(cuda, module, counter, 20)
    cuda.cuGraphExecKernelNodeSetParams_v2(executable, add, ctypes.byref(params))
    g.run(cuda, executable, stream)
    assert word(cuda, counter) == 21
    params = adder(cuda, module, counter, 30)
    cuda.cuGraphKernelNodeSetParams_v2(add, ctypes.byref(params))  # changes the node's own graph
    g.run(cuda, outer.instantiate(), stream)
    assert word(cuda, counter) == 31
    other = g.Graph(cuda)
    other.kernel(adder(cuda, module, counter, 40))
    cuda.cuGraphExecChildGraphNodeSetParams(executable, node, other.handle)
    g.run(cuda, executable, stream)
    assert word(cuda, counter) == 41
    code = cuda.code("cuGraphExecChildGraphNodeSetParams", executable, node, inner.handle)
    assert code == d.INVALID_VALUE  # another topology


def test_nodes_are_found_in_a_clone(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter = cuda.upload(bytes(4))
    graph = g.Graph(cuda)
    first = graph.kernel(adder(cuda, module, counter))
    second = graph.empty(first)
    clone = g.Graph(cuda, cuda.out("cuGraphClone", ctypes.c_void_p, graph.handle))
    twins = [
        cuda.out("cuGraphNodeFindInClone", ctypes.c_void_p, node, clone.handle)
        for node in (first, second)
    ]
    assert twins == clone.nodes()
    assert not set(twins) & {first, second}
    params = adder(cuda, module, counter, 2)
    cuda.cuGraphKernelNodeSetParams_v2(twins[0], ctypes.byref(params))
    g.run(cuda, graph.instantiate(), stream)
    g.run(cuda, clone.instantiate(), stream)
    assert word(cuda, counter) == 12
    node = ctypes.c_void_p()
    foreign = g.Graph(cuda).empty()
    code = cuda.code("cuGraphNodeFindInClone", ctypes.byref(node), foreign, clone.handle)
    assert code == d.INVALID_VALUE


def test_event_nodes(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter = cuda.upload(bytes(4))
    first, second = cuda.event(), cuda.event()
    graph = g.Graph(cuda)
    before = graph._add("cuGraphAddEventRecordNode", (), first)
    add = graph.kernel(adder(cuda, module, counter), before)
    after = graph._add("cuGraphAddEventRecordNode", (add,), first)
    cuda.cuGraphEventRecordNodeSetEvent(after, second)
    got = cuda.out_last("cuGraphEventRecordNodeGetEvent", ctypes.c_void_p, after)
    assert got == second
    executable = graph.instantiate()
    cuda.cuGraphLaunch(executable, stream)
    cuda.cuEventSynchronize(second)
    assert word(cuda, counter) == 10
    cuda.cuStreamSynchronize(stream)
    elapsed = ctypes.c_float(-1)
    cuda.cuEventElapsedTime(ctypes.byref(elapsed), first, second)
    assert 0 <= elapsed.value < 60_000
    third = cuda.event()
    cuda.cuGraphExecEventRecordNodeSetEvent(executable, after, third)
    g.run(cuda, executable, stream)
    assert cuda.code("cuEventQuery", third) == 0
    cuda.cuEventElapsedTime(ctypes.byref(elapsed), first, third)
    assert elapsed.value >= 0


def test_a_graph_waits_for_an_event(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    spin, add = cuda.function(module, "spin"), cuda.function(module, "increment")
    one, two, three = cuda.stream(), cuda.stream(), cuda.stream()
    flag, counter = cuda.upload(bytes(8)), cuda.upload(bytes(4))
    unused, event = cuda.event(2), cuda.event(2)
    graph = g.Graph(cuda)
    wait = graph._add("cuGraphAddEventWaitNode", (), unused)
    cuda.cuGraphEventWaitNodeSetEvent(wait, event)
    assert cuda.out_last("cuGraphEventWaitNodeGetEvent", ctypes.c_void_p, wait) == event
    graph.kernel(g.kernel_params(add, (1, 1, 1), (10, 1, 1), U64(counter)), wait)
    executable = graph.instantiate()
    assert cuda.launch(spin, (1, 1, 1), (1, 1, 1), U64(flag), stream=one) == 0
    cuda.cuEventRecord(event, one)
    cuda.cuGraphLaunch(executable, two)
    assert cuda.code("cuStreamQuery", two) == d.NOT_READY
    cuda.cuMemsetD32Async(flag, 1, 1, three)
    cuda.cuStreamSynchronize(two)
    assert word(cuda, flag, 1) == 7  # the spinning kernel was done
    assert word(cuda, counter) == 10
    cuda.cuGraphExecEventWaitNodeSetEvent(executable, wait, unused)
    g.run(cuda, executable, two)
    assert word(cuda, counter) == 20


def test_value_nodes(cuda):
    cuda.start()
    stream, out = cuda.stream(), cuda.upload(bytes(16))
    context = cuda.out("cuCtxGetCurrent", ctypes.c_void_p)
    write_32, write_64 = 2, 5  # CUstreamBatchMemOpType

    def batch(*steps):
        array = (g.ValueStep * len(steps))(*steps)
        params = g.BatchParams(context, len(steps), ctypes.addressof(array), 0)
        params.keep = array
        return params

    graph = g.Graph(cuda)
    params = batch(g.ValueStep(write_32, out, 3), g.ValueStep(write_64, out + 8, 1 << 40))
    node = graph._add("cuGraphAddBatchMemOpNode", (), ctypes.byref(params))
    got = g.BatchParams()
    cuda.cuGraphBatchMemOpNodeGetParams(node, ctypes.byref(got))
    step = ctypes.cast(got.steps, ctypes.POINTER(g.ValueStep))[1]
    assert (got.count, step.operation, step.address, step.value) == (2, write_64, out + 8, 1 << 40)
    executable = graph.instantiate()
    g.run(cuda, executable, stream)
    assert cuda.download(out, 16) == (3).to_bytes(8, "little") + (1 << 40).to_bytes(8, "little")
    params = batch(g.ValueStep(write_32, out, 4))
    cuda.cuGraphExecBatchMemOpNodeSetParams(executable, node, ctypes.byref(params))
    g.run(cuda, executable, stream)
    assert word(cuda, out) == 4
    params = batch(g.ValueStep(write_32, out, 5))
    cuda.cuGraphBatchMemOpNodeSetParams(node, ctypes.byref(params))
    g.run(cuda, graph.instantiate(), stream)
    assert word(cuda, out) == 5
    params = batch(g.ValueStep(write_32, out + 2, 5))
    code = cuda.code("cuGraphBatchMemOpNodeSetParams", node, ctypes.byref(params))
    assert code == d.INVALID_VALUE


def test_kernel_attributes(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    counter = cuda.upload(bytes(4))
    graph = g.Graph(cuda)
    one = graph.kernel(adder(cuda, module, counter))
    two = graph.kernel(adder(cuda, module, counter))
    cooperative, priority = 2, 8
    value, got = (ctypes.c_int * 16)(1), (ctypes.c_int * 16)(9)
    cuda.cuGraphKernelNodeGetAttribute(one, cooperative, got)
    assert got[0] == 0
    cuda.cuGraphKernelNodeSetAttribute(one, cooperative, value)
    value[0] = -3
    cuda.cuGraphKernelNodeSetAttribute(one, priority, value)
    cuda.cuGraphKernelNodeCopyAttributes(two, one)
    cuda.cuGraphKernelNodeGetAttribute(two, cooperative, got)
    assert got[0] == 1
    cuda.cuGraphKernelNodeGetAttribute(two, priority, got)
    assert got[0] == -3
    params = adder(cuda, module, counter, 5)
    cuda.cuGraphKernelNodeSetParams_v2(two, ctypes.byref(params))  # attributes are not parameters
    cuda.cuGraphKernelNodeGetAttribute(two, cooperative, got)
    assert got[0] == 1
    stream = cuda.stream()
    g.run(cuda, graph.instantiate(), stream)
    assert word(cuda, counter) == 15
    assert cuda.code("cuGraphKernelNodeGetAttribute", graph.empty(), priority, got) == 1


def test_any_kind_of_node_through_one_call(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter, copy = cuda.upload(bytes(4)), cuda.upload(bytes(4))
    event = cuda.event()
    child, graph = g.Graph(cuda), g.Graph(cuda)
    child.kernel(adder(cuda, module, counter, 100))
    first, _ = graph.node(g.MEMSET, memset=g.memset_params(counter, 2, 1, 4))
    add, _ = graph.node(g.KERNEL, first, kernel=adder(cuda, module, counter))
    inner, _ = graph.node(g.CHILD, add, graph=g.ChildNode(child.handle, 0))
    gap, _ = graph.node(g.EMPTY, inner)
    params = g.MemcpyNode(copy=g.copy_params(copy, counter, 4))
    last, _ = graph.node(g.MEMCPY, gap, memcpy=params)
    graph.node(g.EVENT_RECORD, last, event=event)
    kinds = [g.MEMSET, g.KERNEL, g.CHILD, g.EMPTY, g.MEMCPY, g.EVENT_RECORD]
    assert [g.node_type(cuda, n) for n in graph.nodes()] == kinds
    executable = graph.instantiate()
    g.run(cuda, executable, stream)
    assert word(cuda, copy) == 112
    assert cuda.code("cuEventQuery", event) == 0
    changed = g.node_params(g.KERNEL, kernel=adder(cuda, module, counter, 20))
    cuda.cuGraphExecNodeSetParams(executable, add, ctypes.byref(changed))
    g.run(cuda, executable, stream)
    assert word(cuda, copy) == 122
    changed = g.node_params(g.MEMSET, memset=g.memset_params(counter, 3, 1, 4))
    cuda.cuGraphNodeSetParams(first, ctypes.byref(changed))
    g.run(cuda, graph.instantiate(), stream)
    assert word(cuda, copy) == 113
    changed = g.node_params(g.KERNEL, kernel=adder(cuda, module, counter))
    code = cuda.code("cuGraphExecNodeSetParams", executable, first, ctypes.byref(changed))
    assert code == d.INVALID_VALUE  # a memset node


def test_a_graph_is_printed(cuda, tmp_path):
    cuda.start()
    module, counter = cuda.module(kernels.ALL), cuda.upload(bytes(4))
    graph = g.Graph(cuda)
    graph.kernel(adder(cuda, module, counter), graph.empty())
    path = tmp_path / "graph.dot"
    cuda.cuGraphDebugDotPrint(graph.handle, str(path).encode(), 1)
    text = path.read_text()
    assert text.startswith("digraph dot {")
    assert "increment" in text
    assert "->" in text


IF, WHILE, SWITCH = range(3)


def conditional(cuda, graph, kind, size, default, flags=1):
    """A conditional node, and the graphs of its bodies."""
    context = cuda.out("cuCtxGetCurrent", ctypes.c_void_p)
    handle = cuda.out("cuGraphConditionalHandleCreate", U64, graph.handle, context, default, flags)
    params = g.ConditionalParams(handle, kind, size, None, context)
    _, made = graph.node(g.CONDITIONAL, conditional=params)
    bodies = made.node.conditional.graphs
    return handle, [g.Graph(cuda, bodies[i]) for i in range(size)]


def test_conditional_nodes_with_the_default_value(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter = cuda.upload(bytes(4))
    for kind, size, default, added in (
        (IF, 1, 1, 1), (IF, 1, 0, 0), (IF, 2, 0, 10), (SWITCH, 3, 2, 100), (SWITCH, 3, 3, 0),
        (WHILE, 1, 0, 0),
    ):  # fmt: skip
        graph = g.Graph(cuda)
        _, bodies = conditional(cuda, graph, kind, size, default)
        for i, body in enumerate(bodies):
            body.kernel(adder(cuda, module, counter, 10**i))
        cuda.cuMemsetD32_v2(counter, 0, 1)
        g.run(cuda, graph.instantiate(), stream)
        assert word(cuda, counter) == added, (kind, size, default)


def test_a_kernel_sets_the_condition(cuda):
    cuda.start()
    source = (kernels.HEADER + kernels.COUNT_DOWN).encode() + b"\0"
    loaded = ctypes.c_void_p()
    if cuda.code("cuModuleLoadData", ctypes.byref(loaded), source) != 0:
        pytest.skip("this driver links cudaGraphSetConditional from cudadevrt only")
    module, stream = loaded.value, cuda.stream()
    rounds, total = cuda.alloc(4), cuda.upload(bytes(4))
    graph = g.Graph(cuda)
    handle, (body,) = conditional(cuda, graph, WHILE, 1, 1)
    down = g.kernel_params(
        cuda.function(module, "count_down"), (1, 1, 1), (1, 1, 1), U64(rounds), U64(handle)
    )
    body.kernel(adder(cuda, cuda.module(kernels.ALL), total), body.kernel(down))
    executable = graph.instantiate()
    for count in (4, 3):
        cuda.cuMemsetD32_v2(rounds, count, 1)
        g.run(cuda, executable, stream)
    assert (word(cuda, rounds), word(cuda, total)) == (0, 70)


def test_the_body_of_a_condition_is_captured(cuda):
    cuda.start()
    module, stream = cuda.module(kernels.ALL), cuda.stream()
    counter = cuda.upload(bytes(4))
    graph = g.Graph(cuda)
    _, (body, otherwise) = conditional(cuda, graph, IF, 2, 1)
    for one, threads in ((body, 3), (otherwise, 100)):
        cuda.cuStreamBeginCaptureToGraph(stream, one.handle, None, None, 0, 2)
        increment = cuda.function(module, "increment")
        arguments = (1, 1, 1), (threads, 1, 1), U64(counter)
        assert cuda.launch(increment, *arguments, stream=stream) == 0
        assert g.ending_capture(cuda, stream) == one.handle
    assert cuda.code("cuGraphDestroy", body.handle) == d.INVALID_VALUE  # the node's
    g.run(cuda, graph.instantiate(), stream, 2)
    assert word(cuda, counter) == 6
