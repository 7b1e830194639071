"""Graphs built node by node, instances and their updates."""

import ctypes

from harness import driver as d
from harness import kernels
from softgpu import child

HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class KernelNode(ctypes.Structure):
    _fields_ = (
        ("function", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("parameters", ctypes.c_void_p),
        ("extra", ctypes.c_void_p),
        ("kernel", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    )


class FillNode(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint64),
        ("pitch", ctypes.c_size_t),
        ("value", ctypes.c_uint),
        ("element", ctypes.c_uint),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
    )


def nodes(*handles):
    return (ctypes.c_void_p * max(1, len(handles)))(*handles)


def add(cuda, kind, graph, after, *arguments):
    return cuda.out(f"cuGraphAdd{kind}Node", ctypes.c_void_p, graph, nodes(*after), len(after),
                    *arguments)  # fmt: skip


def new_graph(cuda):
    return cuda.out("cuGraphCreate", ctypes.c_void_p, 0)


def instance(cuda, graph):
    return cuda.out("cuGraphInstantiateWithFlags", ctypes.c_void_p, graph, 0)


def increment_node(cuda, function, counter):
    value = ctypes.c_uint64(counter)
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    node = KernelNode(function, (1, 1, 1), (4, 1, 1), 0, ctypes.addressof(pointers), None)
    node.keep = (value, pointers)
    return node


def test_nodes_run_after_what_they_depend_on():
    def body(cuda):
        context = cuda.start()
        counter = cuda.upload(b"\xff" * 4)
        function = cuda.function(cuda.module(kernels.ALL), "increment")
        graph, seen = new_graph(cuda), []
        # Added in the wrong order, connected in the right one.
        kernel = increment_node(cuda, function, counter)
        last = cuda.out(
            "cuGraphAddKernelNode_v2", ctypes.c_void_p, graph, None, 0, ctypes.byref(kernel)
        )
        fill = FillNode(counter, 0, 10, 4, 1, 1)
        first = add(cuda, "Memset", graph, (), ctypes.byref(fill), context)
        cuda.cuGraphAddDependencies(graph, nodes(first), nodes(last), 1)
        function = HostFunction(lambda user: seen.append(user))
        host = (ctypes.c_void_p * 2)(ctypes.cast(function, ctypes.c_void_p), 77)
        add(cuda, "Host", graph, (last,), host)
        count = ctypes.c_size_t()
        cuda.cuGraphGetNodes(graph, None, ctypes.byref(count))
        assert count.value == 3
        cuda.cuGraphGetRootNodes(graph, None, ctypes.byref(count))
        assert count.value == 1
        cuda.cuGraphGetEdges(graph, None, None, ctypes.byref(count))
        assert count.value == 2
        executable = instance(cuda, graph)
        cuda.cuGraphDestroy(graph)
        stream = cuda.stream()
        for _ in range(2):
            cuda.cuGraphLaunch(executable, stream)
        cuda.cuStreamSynchronize(stream)
        assert cuda.download(counter, 4) == b"\x0e\0\0\0"
        assert seen == [77, 77]

    child.run(body)


def test_a_cycle_is_refused():
    def body(cuda):
        cuda.start()
        graph = new_graph(cuda)
        first = add(cuda, "Empty", graph, ())
        second = add(cuda, "Empty", graph, (first,))
        cuda.cuGraphAddDependencies(graph, nodes(second), nodes(first), 1)
        out = ctypes.c_void_p()
        code = cuda.code("cuGraphInstantiateWithFlags", ctypes.byref(out), graph, 0)
        assert code == d.INVALID_VALUE

    child.run(body)


def test_child_graphs_and_clones_are_copies():
    def body(cuda):
        context = cuda.start()
        word = cuda.upload(bytes(4))
        inner, outer = new_graph(cuda), new_graph(cuda)
        fill = FillNode(word, 0, 3, 4, 1, 1)
        add(cuda, "Memset", inner, (), ctypes.byref(fill), context)
        add(cuda, "ChildGraph", outer, (), inner)
        clone = cuda.out("cuGraphClone", ctypes.c_void_p, outer)
        cuda.cuGraphDestroy(inner)
        cuda.cuGraphDestroy(outer)
        cuda.cuGraphLaunch(instance(cuda, clone), 0)
        assert cuda.download(word, 4) == b"\x03\0\0\0"

    child.run(body)


def test_event_nodes_complete_with_the_graph():
    def body(cuda):
        cuda.start()
        graph, event, word = new_graph(cuda), cuda.event(2), cuda.upload(bytes(4))
        add(cuda, "EventRecord", graph, (), event)
        executable, stream = instance(cuda, graph), cuda.stream()
        flag = cuda.upload(bytes(4))
        cuda.cuStreamWaitValue32_v2(stream, flag, 1, 0)
        cuda.cuGraphLaunch(executable, stream)
        assert cuda.code("cuEventQuery", event) == d.NOT_READY
        other = cuda.stream()
        cuda.cuStreamWaitEvent(other, event, 0)
        cuda.cuMemsetD32Async(word, 4, 1, other)
        cuda.cuStreamWriteValue32_v2(cuda.stream(), flag, 1, 0)
        cuda.cuStreamSynchronize(other)
        assert cuda.download(word, 4) == b"\x04\0\0\0"

    child.run(body)


def test_update_changes_what_a_later_launch_does():
    def body(cuda):
        context = cuda.start()
        word = cuda.upload(bytes(4))
        graphs = []
        for value in (1, 2):
            graph = new_graph(cuda)
            fill = FillNode(word, 0, value, 4, 1, 1)
            add(cuda, "Memset", graph, (), ctypes.byref(fill), context)
            graphs.append(graph)
        executable = instance(cuda, graphs[0])
        info = ctypes.create_string_buffer(64)
        cuda.cuGraphExecUpdate_v2(executable, graphs[1], info)
        cuda.cuGraphLaunch(executable, 0)
        assert cuda.download(word, 4) == b"\x02\0\0\0"
        add(cuda, "Empty", graphs[1], ())
        assert cuda.code("cuGraphExecUpdate_v2", executable, graphs[1], info) == 910

    child.run(body)


def test_capture_into_an_existing_graph():
    def body(cuda):
        context = cuda.start()
        words = cuda.upload(bytes(8))
        graph, stream = new_graph(cuda), cuda.stream()
        fill = FillNode(words, 0, 1, 4, 2, 1)
        first = add(cuda, "Memset", graph, (), ctypes.byref(fill), context)
        cuda.cuStreamBeginCaptureToGraph(stream, graph, nodes(first), None, 1, 2)
        cuda.cuMemsetD32Async(words, 9, 1, stream)
        ended = ctypes.c_void_p()
        cuda.cuStreamEndCapture(stream, ctypes.byref(ended))
        assert ended.value == graph
        cuda.cuGraphLaunch(instance(cuda, graph), stream)
        cuda.cuStreamSynchronize(stream)
        assert cuda.download(words, 8) == b"\x09\0\0\0\x01\0\0\0"

    child.run(body)


def test_unjoined_work_is_an_error():
    def body(cuda):
        cuda.start()
        origin, other, event, word = cuda.stream(), cuda.stream(), cuda.event(2), cuda.alloc(4)
        cuda.cuStreamBeginCapture_v2(origin, 2)
        cuda.cuEventRecord(event, origin)
        cuda.cuStreamWaitEvent(other, event, 0)
        cuda.cuMemsetD32Async(word, 1, 1, other)
        out = ctypes.c_void_p(1)
        assert cuda.code("cuStreamEndCapture", origin, ctypes.byref(out)) == 904
        assert out.value is None

    child.run(body)


def test_an_unsafe_call_invalidates_a_global_capture():
    def body(cuda):
        cuda.start()
        stream = cuda.stream()
        cuda.cuStreamBeginCapture_v2(stream, 0)
        out = ctypes.c_uint64()
        assert cuda.code("cuMemAlloc_v2", ctypes.byref(out), 4) == 900
        graph = ctypes.c_void_p()
        assert cuda.code("cuStreamEndCapture", stream, ctypes.byref(graph)) == 901
        cuda.cuStreamBeginCapture_v2(stream, 2)
        mode = ctypes.c_int(2)
        cuda.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))
        assert mode.value == 0
        assert cuda.alloc(4)
        cuda.cuStreamEndCapture(stream, ctypes.byref(graph))

    child.run(body)


def test_parameters_of_a_node_are_read_and_changed():
    def body(cuda):
        context = cuda.start()
        words = cuda.upload(bytes(8))
        graph = new_graph(cuda)
        fill = FillNode(words, 0, 3, 4, 1, 1)
        node = add(cuda, "Memset", graph, (), ctypes.byref(fill), context)
        got = FillNode()
        cuda.cuGraphMemsetNodeGetParams(node, ctypes.byref(got))
        assert (got.address, got.value, got.width) == (words, 3, 1)
        executable = instance(cuda, graph)
        fill.value = 5
        cuda.cuGraphExecMemsetNodeSetParams(executable, node, ctypes.byref(fill), context)
        cuda.cuGraphLaunch(executable, 0)
        assert cuda.download(words, 8) == b"\x05\0\0\0" + bytes(4)
        # The graph itself kept its value.
        cuda.cuGraphLaunch(instance(cuda, graph), 0)
        assert cuda.download(words, 4) == b"\x03\0\0\0"
        fill.address = 4096
        code = cuda.code("cuGraphMemsetNodeSetParams", node, ctypes.byref(fill))
        assert code == d.INVALID_VALUE

    child.run(body)


def test_kernel_parameters_of_a_captured_node():
    def body(cuda):
        cuda.start()
        counters = cuda.upload(bytes(8))
        function = cuda.function(cuda.module(kernels.ALL), "increment")
        stream, graph = cuda.stream(), ctypes.c_void_p()
        cuda.cuStreamBeginCapture_v2(stream, 2)
        assert (
            cuda.launch(function, (1, 1, 1), (4, 1, 1), ctypes.c_uint64(counters), stream=stream)
            == 0
        )
        cuda.cuStreamEndCapture(stream, ctypes.byref(graph))
        handles, count = nodes(None), ctypes.c_size_t(1)
        cuda.cuGraphGetNodes(graph, handles, ctypes.byref(count))
        assert count.value == 1
        got = KernelNode()
        cuda.cuGraphKernelNodeGetParams_v2(handles[0], ctypes.byref(got))
        assert (got.function, tuple(got.block)) == (function, (4, 1, 1))
        pointer = ctypes.cast(got.parameters, ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64)))
        assert pointer[0][0] == counters
        executable = instance(cuda, graph)
        changed = increment_node(cuda, function, counters + 4)
        cuda.cuGraphExecKernelNodeSetParams_v2(executable, handles[0], ctypes.byref(changed))
        cuda.cuGraphLaunch(executable, stream)
        cuda.cuStreamSynchronize(stream)
        assert cuda.download(counters, 8) == bytes(4) + b"\x04\0\0\0"
        cuda.cuGraphNodeSetEnabled(executable, handles[0], 0)
        cuda.cuGraphLaunch(executable, stream)
        cuda.cuStreamSynchronize(stream)
        assert cuda.download(counters, 8) == bytes(4) + b"\x04\0\0\0"

    child.run(body)


def test_user_objects_live_as_long_as_a_graph_holds_them():
    def body(cuda):
        cuda.start()
        destroyed = []
        destroy = HostFunction(destroyed.append)
        thing = cuda.out(
            "cuUserObjectCreate", ctypes.c_void_p, 11, ctypes.cast(destroy, ctypes.c_void_p), 1, 1
        )
        graph = new_graph(cuda)
        # Moves the only reference. (The harness takes this handle type for an enumeration.)
        handles = ctypes.c_void_p(graph), ctypes.c_void_p(thing)
        retain = cuda.library.cuGraphRetainUserObject
        retain.argtypes = None
        assert retain(*handles, ctypes.c_uint(1), ctypes.c_uint(1)) == 0
        executable = instance(cuda, graph)
        cuda.cuGraphDestroy(graph)
        assert destroyed == []
        cuda.cuGraphExecDestroy(executable)
        assert destroyed == [11]

    child.run(body)
