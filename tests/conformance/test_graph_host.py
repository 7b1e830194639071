"""What graphs do on the host at each launch: functions, and copies from and to its memory."""

import ctypes
import time

from harness import driver as d
from harness import graphs as g
from harness import kernels

U32, U64 = ctypes.c_uint32, ctypes.c_uint64
BIG = 3 << 20  # more than rides inside a record


def word(cuda, address, index=0):
    return int.from_bytes(cuda.download(address + 4 * index, 4), "little")


def pinned(cuda, size):
    address = cuda.out("cuMemHostAlloc", ctypes.c_void_p, size, 0)
    return address, (ctypes.c_ubyte * size).from_address(address)


def words(cuda, count):
    address, _ = pinned(cuda, 4 * count)
    return address, (U32 * count).from_address(address)


def adder(cuda, counter, threads=10):
    add = cuda.function(cuda.module(kernels.ALL), "increment")
    return g.kernel_params(add, (1, 1, 1), (threads, 1, 1), U64(counter))


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def test_host_nodes_see_what_was_copied_before_them(cuda):
    cuda.start()
    stream, counter = cuda.stream(), cuda.upload(bytes(4))
    address, host = words(cuda, 1)
    seen = []
    function = g.HostFunction(lambda user: seen.append((user, host[0])))
    graph = g.Graph(cuda)
    add = graph.kernel(adder(cuda, counter))
    copy = graph.copy(g.copy_params(address, counter, 4, to=g.IN_HOST), add)
    node = graph.host(function, 77, copy)
    assert g.node_type(cuda, node) == g.HOST
    executable = graph.instantiate()
    for count in (1, 2, 3):
        g.run(cuda, executable, stream)
        assert seen == [(77, 10 * i) for i in range(1, count + 1)]


def test_host_nodes_write_what_is_copied_behind_them(cuda):
    cuda.start()
    stream, counter = cuda.stream(), cuda.upload(bytes(4))
    address, host = words(cuda, 1)

    def double(_):
        host[0] = host[0] * 2 + 1

    function = g.HostFunction(double)
    graph = g.Graph(cuda)
    down = graph.copy(g.copy_params(address, counter, 4, to=g.IN_HOST))
    node = graph.host(function, 0, down)
    graph.copy(g.copy_params(counter, address, 4, of=g.IN_HOST), node)
    g.run(cuda, graph.instantiate(), stream, 5)
    assert word(cuda, counter) == 31


def test_captured_work_on_the_host(cuda):
    cuda.start()
    stream, counter = cuda.stream(), cuda.upload(bytes(4))
    add = cuda.function(cuda.module(kernels.ALL), "increment")
    address, host = words(cuda, 1)

    def halve(_):
        host[0] //= 2

    function = g.HostFunction(halve)

    def work():
        assert cuda.launch(add, (1, 1, 1), (10, 1, 1), U64(counter), stream=stream) == 0
        cuda.cuMemcpyDtoHAsync_v2(address, counter, 4, stream)
        cuda.cuLaunchHostFunc(stream, function, None)
        cuda.cuMemcpyHtoDAsync_v2(counter, address, 4, stream)

    graph = g.capture(cuda, stream, work)
    kinds = [g.node_type(cuda, n) for n in graph.nodes()]
    assert kinds == [g.KERNEL, g.MEMCPY, g.HOST, g.MEMCPY]
    executable = graph.instantiate()
    expected = 0
    for _ in range(4):
        g.run(cuda, executable, stream)
        expected = (expected + 10) // 2
        assert (word(cuda, counter), host[0]) == (expected, expected)


def test_sources_are_read_at_each_launch(cuda):
    cuda.start()
    stream = cuda.stream()
    for size in (8, BIG):
        out = cuda.alloc(2 * size)
        address, host = pinned(cuda, size)
        pageable = ctypes.create_string_buffer(size)

        def work(out=out, address=address, pageable=pageable, size=size):
            cuda.cuMemcpyHtoDAsync_v2(out, address, size, stream)
            cuda.cuMemcpyHtoDAsync_v2(out + size, pageable, size, stream)

        executable = g.capture(cuda, stream, work).instantiate()
        for value in (1, 2):
            ctypes.memset(address, value, size)
            ctypes.memset(pageable, 16 * value, size)
            g.run(cuda, executable, stream)
            assert (
                cuda.download(out, 2 * size) == bytes([value]) * size + bytes([16 * value]) * size
            )
        assert host[0] == 2


def test_destinations_have_landed_when_a_wait_ends(cuda):
    cuda.start()
    stream, event = cuda.stream(), cuda.event(2)
    source = cuda.alloc(BIG)
    address, host = pinned(cuda, BIG)

    def work():
        cuda.cuMemcpyDtoHAsync_v2(address, source, BIG, stream)

    executable = g.capture(cuda, stream, work).instantiate()
    waits = (
        lambda: cuda.cuStreamSynchronize(stream),
        lambda: cuda.cuEventSynchronize(event),
        lambda: wait_until(lambda: cuda.code("cuStreamQuery", stream) == 0),
        lambda: wait_until(lambda: cuda.code("cuEventQuery", event) == 0),
        cuda.cuCtxSynchronize,
    )
    for value, wait in enumerate(waits, 1):
        cuda.cuMemsetD8Async(source, value, BIG, stream)
        cuda.cuGraphLaunch(executable, stream)
        cuda.cuEventRecord(event, stream)
        wait()
        assert (host[0], host[BIG - 1]) == (value, value)


def test_copies_of_rows(cuda):
    cuda.start()
    stream, device = cuda.stream(), cuda.upload(bytes(64))
    address, host = pinned(cuda, 64)
    up = g.copy_params(device, address, 3, of=g.IN_HOST)
    up.height, up.src.pitch, up.dst.pitch, up.src.x = 4, 16, 8, 2
    down = g.copy_params(address + 8, device, 2, to=g.IN_HOST)
    down.height, down.src.pitch, down.dst.pitch = 2, 8, 16
    graph = g.Graph(cuda)
    graph.copy(down, graph.copy(up))
    executable = graph.instantiate()
    host[:] = range(64)
    g.run(cuda, executable, stream)
    rows = [bytes(range(16 * y + 2, 16 * y + 5)) + bytes(5) for y in range(4)]
    assert cuda.download(device, 32) == b"".join(rows)
    assert bytes(host[8:10]) == bytes([2, 3])
    assert bytes(host[24:26]) == bytes([18, 19])
    assert host[10] == 10


def test_host_nodes_give_and_take_parameters(cuda):
    cuda.start()
    stream, device = cuda.stream(), cuda.alloc(4)
    address, host = words(cuda, 2)
    calls = []
    one = g.HostFunction(lambda user: calls.append(("one", user)))
    two = g.HostFunction(lambda user: calls.append(("two", user)))
    graph = g.Graph(cuda)
    node = graph.host(one, 5)
    copy = graph.copy(g.copy_params(device, address, 4, of=g.IN_HOST), node)
    got = g.HostParams()
    cuda.cuGraphHostNodeGetParams(node, ctypes.byref(got))
    assert (got.fn, got.user) == (ctypes.cast(one, ctypes.c_void_p).value, 5)
    side = g.CopyParams()
    cuda.cuGraphMemcpyNodeGetParams(copy, ctypes.byref(side))
    assert (side.src.type, side.src.host, side.width) == (g.IN_HOST, address, 4)
    executable = graph.instantiate()
    g.run(cuda, executable, stream)
    context = cuda.out("cuCtxGetCurrent", ctypes.c_void_p)
    params = g.HostParams(ctypes.cast(two, ctypes.c_void_p), 6)
    cuda.cuGraphExecHostNodeSetParams(executable, node, ctypes.byref(params))
    changed = g.copy_params(device, address + 4, 4, of=g.IN_HOST)
    cuda.cuGraphExecMemcpyNodeSetParams(executable, copy, ctypes.byref(changed), context)
    host[0], host[1] = 100, 200
    g.run(cuda, executable, stream)
    assert (calls, word(cuda, device)) == ([("one", 5), ("two", 6)], 200)
    params.user = 7
    cuda.cuGraphHostNodeSetParams(node, ctypes.byref(params))
    g.run(cuda, graph.instantiate(), stream)
    assert calls[2:] == [("two", 7)]
    assert word(cuda, device) == 100


def test_a_disabled_copy_leaves_host_memory_alone(cuda):
    cuda.start()
    stream, device = cuda.stream(), cuda.upload(b"\1\0\0\0")
    address, host = words(cuda, 1)
    graph = g.Graph(cuda)
    copy = graph.copy(g.copy_params(address, device, 4, to=g.IN_HOST))
    executable = graph.instantiate()
    g.run(cuda, executable, stream)
    assert host[0] == 1
    host[0] = 50
    cuda.cuGraphNodeSetEnabled(executable, copy, 0)
    g.run(cuda, executable, stream)
    assert host[0] == 50
    cuda.cuGraphNodeSetEnabled(executable, copy, 1)
    g.run(cuda, executable, stream)
    assert host[0] == 1


def test_clones_and_children_reach_the_host_too(cuda):
    cuda.start()
    stream, device = cuda.stream(), cuda.alloc(4)
    address, host = words(cuda, 1)
    calls = []
    function = g.HostFunction(lambda _: calls.append(word_of(host)))
    inner = g.Graph(cuda)
    inner.host(function, 0, inner.copy(g.copy_params(address, device, 4, to=g.IN_HOST)))
    clone = g.Graph(cuda, cuda.out("cuGraphClone", ctypes.c_void_p, inner.handle))
    outer = g.Graph(cuda)
    first = outer.memset(g.memset_params(device, 3, 1, 4))
    child = outer.child(inner.handle, first)
    last = outer.memset(g.memset_params(device, 4, 1, 4), child)
    outer.child(inner.handle, last)
    cuda.cuGraphDestroy(inner.handle)
    executables = clone.instantiate(), outer.instantiate()
    cuda.cuMemsetD32_v2(device, 2, 1)
    for executable in executables:
        g.run(cuda, executable, stream)
    assert host[0] == 4
    assert len(calls) == 3
    assert calls[0] == 2


def word_of(host):
    return host[0]


def test_a_captured_launch_reaches_the_host_too(cuda):
    cuda.start()
    stream = cuda.stream()
    calls = []
    function = g.HostFunction(lambda user: calls.append(user))
    inner = g.Graph(cuda)
    inner.host(function, 9)
    executable = inner.instantiate()
    graph = g.capture(cuda, stream, lambda: cuda.cuGraphLaunch(executable, stream))
    assert [g.node_type(cuda, n) for n in graph.nodes()] == [g.CHILD]
    assert calls == []
    g.run(cuda, graph.instantiate(), stream, 2)
    assert calls == [9, 9]


def test_what_comes_after_a_launch_waits_for_its_host_work(cuda):
    cuda.start()
    one, two, event = cuda.stream(), cuda.stream(), cuda.event(2)
    out = cuda.alloc(8)
    address, host = words(cuda, 1)

    def work(_):
        time.sleep(0.05)
        host[0] = 123

    function = g.HostFunction(work)
    graph = g.Graph(cuda)
    graph.host(function, 0)
    executable = graph.instantiate()
    for copy_on in (one, two):
        host[0] = 0
        cuda.cuGraphLaunch(executable, one)
        cuda.cuEventRecord(event, one)
        assert cuda.code("cuEventQuery", event) == d.NOT_READY
        cuda.cuStreamWaitEvent(copy_on, event, 0)
        cuda.cuEventSynchronize(event)
        cuda.cuMemcpyHtoDAsync_v2(out, address, 4, copy_on)
        cuda.cuStreamSynchronize(copy_on)
        assert word(cuda, out) == 123
    host[0] = 0
    cuda.cuGraphLaunch(executable, one)
    cuda.cuMemcpyHtoDAsync_v2(out, address, 4, one)  # read when the stream gets there
    cuda.cuStreamSynchronize(one)
    assert word(cuda, out) == 123


def test_launches_of_several_streams(cuda):
    cuda.start()
    streams = [cuda.stream() for _ in range(3)]
    calls = []
    function = g.HostFunction(lambda user: calls.append(user))
    executables = []
    for number in range(3):
        graph = g.Graph(cuda)
        graph.host(function, number + 1)
        executables.append(graph.instantiate())
        cuda.cuGraphDestroy(graph.handle)
    for _ in range(5):
        for executable, stream in zip(executables, streams, strict=True):
            cuda.cuGraphLaunch(executable, stream)
    cuda.cuCtxSynchronize()
    assert sorted(calls) == sorted([1, 2, 3] * 5)


def test_a_copy_that_reads_what_another_wrote(cuda):
    """The stub refuses to instantiate it: nothing on the way shows it the bytes."""
    cuda.start()
    stream, first = cuda.stream(), cuda.upload(b"\5\0\0\0")
    second = cuda.upload(bytes(4))
    address, _ = words(cuda, 1)
    graph = g.Graph(cuda)
    down = graph.copy(g.copy_params(address, first, 4, to=g.IN_HOST))
    graph.copy(g.copy_params(second, address, 4, of=g.IN_HOST), down)
    executable = ctypes.c_void_p()
    code = cuda.code("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph.handle, 0)
    if code != d.NOT_SUPPORTED:
        assert code == 0
        g.run(cuda, executable, stream)
        assert word(cuda, second) == 5


def test_callbacks_cannot_be_captured(cuda):
    cuda.start()
    stream = cuda.stream()
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(
        lambda *_: None
    )
    cuda.cuStreamBeginCapture_v2(stream, 2)
    assert cuda.code("cuStreamAddCallback", stream, callback, None, 0) == 900


def test_user_objects_live_as_long_as_what_holds_them(cuda):
    cuda.start()
    stream = cuda.stream()
    gone = []
    destroy = g.HostFunction(lambda user: gone.append(user))

    def user_object(number, references=1):
        return cuda.out("cuUserObjectCreate", ctypes.c_void_p, number, destroy, references, 1)

    lonely = user_object(1, 2)
    cuda.cuUserObjectRetain(lonely, 1)
    cuda.cuUserObjectRelease(lonely, 2)
    assert gone == []
    cuda.cuUserObjectRelease(lonely, 1)
    wait_until(lambda: gone == [1])
    held = user_object(2)
    graph = g.Graph(cuda)
    graph.empty()
    move = 1
    cuda.cuGraphRetainUserObject(graph.handle, held, 1, move)
    executable = graph.instantiate()
    clone = cuda.out("cuGraphClone", ctypes.c_void_p, graph.handle)
    cuda.cuGraphDestroy(graph.handle)
    g.run(cuda, executable, stream)
    cuda.cuGraphExecDestroy(executable)
    cuda.cuCtxSynchronize()
    assert gone == [1]
    cuda.cuGraphReleaseUserObject(clone, held, 1)
    wait_until(lambda: gone == [1, 2])
    assert cuda.code("cuGraphReleaseUserObject", clone, user_object(3), 1) == d.INVALID_VALUE
