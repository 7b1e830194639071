"""CuPy: captured graphs that allocate from a memory pool, and that copy to and from the host."""

import cupy
import numpy


def temporaries_of_a_capture() -> None:
    """What is allocated while capturing is there at each launch, at the same address."""
    stream = cupy.cuda.Stream(non_blocking=True)
    pool = cupy.cuda.MemoryAsyncPool()
    x, out = cupy.zeros(1000), cupy.zeros(1000)

    def work() -> None:
        a = x * 3  # three temporaries, freed one after the other
        b = a + x
        del a
        cupy.subtract(b.cumsum(), b, out=out)

    with cupy.cuda.using_allocator(pool.malloc), stream:
        work()  # compiles before the capture, which allows no loading
        stream.synchronize()
        stream.begin_capture()
        work()
        graph = stream.end_capture()
    rng = numpy.random.default_rng(1)
    for _ in range(4):
        host = rng.integers(0, 100, 1000).astype(float)
        x.set(host)
        graph.launch(stream)
        other = cupy.full(1000, 7.0)  # memory that the graph must leave alone
        stream.synchronize()
        numpy.testing.assert_array_equal(cupy.asnumpy(out), numpy.cumsum(4 * host) - 4 * host)
        assert float(other.sum()) == 7000


def copies_of_a_capture() -> None:
    """Host memory is read and written at each launch, not once."""
    runtime = cupy.cuda.runtime
    copy = runtime.memcpyAsync  # arrays' own methods refuse to be captured
    stream = cupy.cuda.Stream(non_blocking=True)
    count = 300_000
    buffer = cupy.cuda.alloc_pinned_memory(2 * 8 * count)
    both = numpy.frombuffer(buffer, numpy.float64, 2 * count)
    source, result = both[:count], both[count:]
    x = cupy.zeros(count)
    y = x * 2
    with stream:
        stream.begin_capture()
        copy(x.data.ptr, source.ctypes.data, x.nbytes, runtime.memcpyHostToDevice, stream.ptr)
        cupy.multiply(x, 2, out=y)
        copy(result.ctypes.data, y.data.ptr, y.nbytes, runtime.memcpyDeviceToHost, stream.ptr)
        graph = stream.end_capture()
    for value in (1.5, 2.5, 3.5):
        source[:] = value
        graph.launch(stream)
        stream.synchronize()
        assert (result == 2 * value).all()


def main() -> None:
    for part in (temporaries_of_a_capture, copies_of_a_capture):
        part()
        print(part.__name__, flush=True)
    print("fine")


main()
