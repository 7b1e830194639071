"""Kernels of one's own under CuPy: RawKernel, RawModule, cupyx.jit, fusion, streams and graphs."""

import ctypes

import cupy
import numpy
from cupyx import jit

rng = numpy.random.default_rng(3)


def equal(found, wanted) -> None:
    numpy.testing.assert_array_equal(cupy.asnumpy(found), wanted)


def close(found, wanted, tolerance: float = 1e-6) -> None:
    numpy.testing.assert_allclose(cupy.asnumpy(found), wanted, tolerance, 1e-9)


SUM_OF_BLOCKS = r"""
extern "C" __global__ void sum_of_blocks(const float* in, float* out, int n) {
  extern __shared__ float parts[];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  parts[threadIdx.x] = i < n ? in[i] : 0;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
  }
  if (threadIdx.x == 0) out[blockIdx.x] = parts[0];
}
"""


def raw_kernel() -> None:
    kernel = cupy.RawKernel(SUM_OF_BLOCKS, "sum_of_blocks")
    a = rng.integers(0, 50, 1000).astype(numpy.float32)
    out = cupy.zeros(4, numpy.float32)
    kernel((4,), (256,), (cupy.asarray(a), out, numpy.int32(a.size)), shared_mem=256 * 4)
    equal(out, numpy.pad(a, (0, 24)).reshape(4, 256).sum(axis=1))
    assert kernel.max_threads_per_block == 1024
    # More than 48 KiB of dynamic shared memory has to be asked for.
    kernel.max_dynamic_shared_size_bytes = 64 << 10
    kernel((4,), (256,), (cupy.asarray(a), out, numpy.int32(a.size)), shared_mem=64 << 10)
    equal(out, numpy.pad(a, (0, 24)).reshape(4, 256).sum(axis=1))


MODULE = r"""
#include <cupy/complex.cuh>
struct Line { float slope, offset; short twice; };
__constant__ float weights[4] = {1, 2, 4, 8};
__device__ int launches = 5;
__device__ Line kept;
template <typename T> __global__ void powers(T* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = x[i] * x[i] * x[i];
}
extern "C" __global__ void weigh(float* x) {
  x[threadIdx.x] *= weights[threadIdx.x % 4];
  if (threadIdx.x == 0) atomicAdd(&launches, 1);
}
extern "C" __global__ void line(Line given, float* x) {
  x[threadIdx.x] = given.slope * x[threadIdx.x] + given.offset * (given.twice ? 2 : 1);
  if (threadIdx.x == 0) kept = given;
}
extern "C" __global__ void rotate(complex<double>* z) {
  z[threadIdx.x] = z[threadIdx.x] * complex<double>(0, 1) + exp(z[threadIdx.x]);
}
"""


def raw_module() -> None:
    """Globals by address, templates by name, a structure by value, complex numbers."""
    names = ["powers<int>", "powers<double>"]
    module = cupy.RawModule(code=MODULE, options=("--std=c++17",), name_expressions=names)
    for name, dtype in zip(names, ("int32", "float64"), strict=True):
        a = numpy.arange(-20, 20).astype(dtype)
        x = cupy.asarray(a)
        module.get_function(name)((2,), (32,), (x, numpy.int32(a.size)))
        equal(x, a**3)
    weights = cupy.ndarray(4, numpy.float32, module.get_global("weights"))
    equal(weights, [1, 2, 4, 8])
    weights[:] = cupy.asarray([3, 5, 7, 9], numpy.float32)
    x = cupy.ones(32, numpy.float32)
    for _ in range(3):
        module.get_function("weigh")((1,), (32,), (x,))
    equal(x, numpy.tile([3, 5, 7, 9], 8).astype(numpy.float32) ** 3)
    equal(cupy.ndarray(1, numpy.int32, module.get_global("launches")), [8])
    layout = numpy.dtype({"names": ["slope", "offset", "twice"], "formats": ["f4", "f4", "i2"],
                          "itemsize": 12})  # fmt: skip
    given = numpy.array((0.5, 4.0, 1), layout)
    x = cupy.arange(32, dtype=numpy.float32)
    module.get_function("line")((1,), (32,), (given, x))
    equal(x, numpy.arange(32, dtype=numpy.float32) / 2 + 8)
    kept = cupy.ndarray(12, numpy.uint8, module.get_global("kept"))
    equal(kept[:10], numpy.frombuffer(given.tobytes(), numpy.uint8)[:10])
    z = rng.normal(size=32) + 1j * rng.normal(size=32)
    x = cupy.asarray(z)
    module.get_function("rotate")((1,), (32,), (x,))
    close(x, z * 1j + numpy.exp(z), 1e-13)


COOPERATIVE = r"""
#include <cooperative_groups.h>
extern "C" __global__ void turns(int* value, int rounds) {
  auto grid = cooperative_groups::this_grid();
  for (int r = 0; r < rounds; ++r) {
    // Block r writes what block r - 1 has left; everybody waits in between.
    if (blockIdx.x == r % gridDim.x && threadIdx.x == 0) *value = *value * 3 + r;
    grid.sync();
  }
}
"""


def cooperative() -> None:
    kernel = cupy.RawKernel(COOPERATIVE, "turns", enable_cooperative_groups=True)
    value = cupy.ones(1, numpy.int32)
    kernel((4,), (64,), (value, numpy.int32(9)))
    wanted = 1
    for r in range(9):
        wanted = wanted * 3 + r
    equal(value, [wanted])


@jit.rawkernel()
def reversed_sums(x, out, n):
    shared = jit.shared_memory(numpy.float32, 64)
    thread = jit.threadIdx.x
    index = jit.blockIdx.x * jit.blockDim.x + thread
    if index < n:
        shared[63 - thread] = x[index]
    jit.syncthreads()
    total = shared[thread]
    for step in range(5):
        total += jit.shfl_xor_sync(0xFFFFFFFF, total, 16 >> step)
    if jit.laneid() == 0:
        jit.atomic_add(out, jit.blockIdx.x, total)


def jit_kernel() -> None:
    a = rng.integers(0, 9, 256).astype(numpy.float32)
    out = cupy.zeros(4, numpy.float32)
    reversed_sums((4,), (64,), (cupy.asarray(a), out, numpy.uint32(256)))
    equal(out, a.reshape(4, 64).sum(axis=1))


def own_elementwise() -> None:
    saxpy = cupy.ElementwiseKernel("T a, T x, raw T y", "T z", "z = a * x + y[_ind.size() - i - 1]")
    x, y = rng.integers(0, 9, (2, 300)).astype(numpy.float64)
    equal(saxpy(3.0, cupy.asarray(x), cupy.asarray(y)), 3 * x + y[::-1])
    norm = cupy.ReductionKernel("T x", "T y", "x * x", "a + b", "y = sqrt(a)", "0", "euclidean")
    close(norm(cupy.asarray(x)), numpy.linalg.norm(x))
    close(
        norm(cupy.asarray(x).reshape(20, 15), axis=1), numpy.linalg.norm(x.reshape(20, 15), axis=1)
    )

    @cupy.fuse()
    def fused(p, q):
        return cupy.sqrt(cupy.abs(p - q)) * 2 + p

    close(fused(cupy.asarray(x), cupy.asarray(y)), numpy.sqrt(abs(x - y)) * 2 + x)


def streams_and_events() -> None:
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    a = rng.normal(size=(3, 4000))
    parts = []
    start.record()
    for stream, row in zip(streams, a, strict=True):
        with stream:
            parts.append((cupy.asarray(row) * 2).sum())
            done = stream.record()
        cupy.cuda.get_current_stream().wait_event(done)
    end.record()
    close(cupy.stack(parts), a.sum(axis=1) * 2)
    assert cupy.cuda.get_elapsed_time(start, end) > 0
    called = []
    streams[0].launch_host_func(called.append, "called")
    streams[0].synchronize()
    assert called == ["called"]
    pinned = cupy.cuda.alloc_pinned_memory(a.nbytes)
    host = numpy.frombuffer(pinned, a.dtype, a.size).reshape(a.shape)
    with streams[1]:
        cupy.asarray(a).get(out=host, stream=streams[1], blocking=False)
    streams[1].synchronize()
    equal(host, a)


def graphs() -> None:
    """A captured graph reads its inputs when it runs, as often as it runs."""
    x, total = cupy.zeros(500), cupy.zeros(())
    stream = cupy.cuda.Stream(non_blocking=True)
    (x * 3 + 1).sum(out=total)  # compiles before the capture, which allows no loading
    cupy.cuda.Device().synchronize()
    with stream:
        stream.begin_capture()
        (x * 3 + 1).sum(out=total)
        graph = stream.end_capture()
    for value in (1.0, 5.0):
        x.fill(value)
        cupy.cuda.Device().synchronize()
        graph.upload(stream)
        graph.launch(stream)
        stream.synchronize()
        assert float(total) == 500 * (value * 3 + 1)


def memory() -> None:
    pool = cupy.cuda.MemoryAsyncPool()
    with cupy.cuda.using_allocator(pool.malloc):
        a = cupy.arange(1000)
        assert int((a * a).sum()) == sum(i * i for i in range(1000))
    free, total = cupy.cuda.Device().mem_info
    assert 0 < free <= total
    text = ctypes.create_string_buffer(b"from the host", 32)
    device = cupy.cuda.alloc(32)
    device.copy_from_host(ctypes.c_void_p(ctypes.addressof(text)), 32)
    back = ctypes.create_string_buffer(32)
    device.copy_to_host(ctypes.c_void_p(ctypes.addressof(back)), 32)
    assert back.value == b"from the host"


def main() -> None:
    for part in (
        raw_kernel, raw_module, cooperative, jit_kernel, own_elementwise, streams_and_events,
        graphs, memory,
    ):  # fmt: skip
        part()
        print(part.__name__, flush=True)
    print("fine")


main()
