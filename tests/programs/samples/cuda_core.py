"""cuda.core: Device, Stream, Program, launch, memory resources, events and a graph builder."""

import numpy as np
from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch

SOURCE = """
template <typename T>
__global__ void axpy(T a, const T* x, T* y, unsigned long long n) {
  unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;
  if (i < n) y[i] += a * x[i];
}
"""


def main() -> None:
    device = Device(0)
    device.set_current()
    stream = device.create_stream()
    options = ProgramOptions(std="c++17", arch="compute_90", fma=False)
    program = Program(SOURCE, code_type="c++", options=options)
    names = ("axpy<float>", "axpy<double>")
    code = program.compile("ptx", name_expressions=names)

    rng = np.random.default_rng(2)
    for name, dtype in zip(names, (np.float32, np.float64), strict=True):
        kernel = code.get_kernel(name)
        count = 50_001
        x, y = rng.random(count).astype(dtype), rng.random(count).astype(dtype)
        buffers = []
        for values in (x, y):
            buffer = device.allocate(values.nbytes, stream=stream)
            host = np.ascontiguousarray(values)
            upload(buffer, host, stream)
            buffers.append(buffer)
        config = LaunchConfig(grid=-(-count // 256), block=256)
        launch(stream, config, kernel, dtype(0.5), buffers[0], buffers[1], np.uint64(count))
        stream.sync()
        np.testing.assert_array_equal(download(buffers[1], dtype, stream), y + dtype(0.5) * x)

        builder = device.create_graph_builder().begin_building()
        for _ in range(2):
            launch(builder, config, kernel, dtype(0.25), buffers[0], buffers[1], np.uint64(count))
        graph = builder.end_building().complete()
        graph.launch(stream)
        stream.sync()
        expected = y + dtype(0.5) * x
        for _ in range(2):
            expected = expected + dtype(0.25) * x
        np.testing.assert_array_equal(download(buffers[1], dtype, stream), expected)
        for buffer in buffers:
            buffer.close(stream)
    stream.close()
    print("fine")


def upload(buffer, host: np.ndarray, stream) -> None:
    from cuda.bindings import driver

    error, = driver.cuMemcpyHtoDAsync(int(buffer.handle), host.ctypes.data, host.nbytes,
                                      int(stream.handle))  # fmt: skip
    assert int(error) == 0, error
    stream.sync()


def download(buffer, dtype, stream) -> np.ndarray:
    from cuda.bindings import driver

    host = np.empty(buffer.size // np.dtype(dtype).itemsize, dtype)
    error, = driver.cuMemcpyDtoHAsync(host.ctypes.data, int(buffer.handle), host.nbytes,
                                      int(stream.handle))  # fmt: skip
    assert int(error) == 0, error
    stream.sync()
    return host


if __name__ == "__main__":
    main()
