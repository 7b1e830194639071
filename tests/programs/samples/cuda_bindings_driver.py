"""cuda-bindings: the driver API from Python: NVRTC, streams, events, memory pools, a graph."""

import ctypes

import numpy as np
from cuda.bindings import driver, nvrtc

SOURCE = b"""
extern "C" __global__ void saxpy(float a, const float* x, const float* y, float* out, size_t n) {
  size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
  if (i < n) out[i] = a * x[i] + y[i];
}
__constant__ float factors[4];
extern "C" __global__ void scale(float* data, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    data[i] *= factors[i % 4];
}
"""


def check(outcome):
    """Raises for an error code; returns what the call gave."""
    error, *values = outcome
    if int(error) != 0:
        raise RuntimeError(f"{error!r}")
    return values[0] if len(values) == 1 else tuple(values)


def compile_ptx(device) -> bytes:
    attribute = driver.CUdevice_attribute
    major = check(
        driver.cuDeviceGetAttribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
    )
    print(f"capability {major}.x")
    program = check(nvrtc.nvrtcCreateProgram(SOURCE, b"saxpy.cu", 0, [], []))
    options = [b"--fmad=false", b"--gpu-architecture=compute_90"]
    check(nvrtc.nvrtcCompileProgram(program, len(options), options))
    text = b" " * check(nvrtc.nvrtcGetPTXSize(program))
    check(nvrtc.nvrtcGetPTX(program, text))
    return text


def pointers(*values: np.ndarray) -> np.ndarray:
    return np.array([v.ctypes.data for v in values], dtype=np.uint64)


def main() -> None:
    check(driver.cuInit(0))
    device = check(driver.cuDeviceGet(0))
    context = check(driver.cuDevicePrimaryCtxRetain(device))
    check(driver.cuCtxSetCurrent(context))
    module = check(driver.cuModuleLoadData(compile_ptx(device)))
    saxpy = check(driver.cuModuleGetFunction(module, b"saxpy"))
    scale = check(driver.cuModuleGetFunction(module, b"scale"))

    count = 100_000
    nbytes = count * 4
    rng = np.random.default_rng(5)
    x, y = rng.random(count, np.float32), rng.random(count, np.float32)
    out = np.zeros(count, np.float32)
    stream = check(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
    begin, end = check(driver.cuEventCreate(0)), check(driver.cuEventCreate(0))

    # Stream-ordered memory, asynchronous copies, a launch with arguments by address.
    buffers = [check(driver.cuMemAllocAsync(nbytes, stream)) for _ in range(3)]
    check(driver.cuEventRecord(begin, stream))
    check(driver.cuMemcpyHtoDAsync(buffers[0], x.ctypes.data, nbytes, stream))
    check(driver.cuMemcpyHtoDAsync(buffers[1], y.ctypes.data, nbytes, stream))
    arguments = [np.array([2], np.float32), *(np.array([int(b)], np.uint64) for b in buffers),
                 np.array([count], np.uint64)]  # fmt: skip
    table = pointers(*arguments)
    check(driver.cuLaunchKernel(saxpy, -(-count // 256), 1, 1, 256, 1, 1, 0, stream,
                                table.ctypes.data, 0))  # fmt: skip
    check(driver.cuMemcpyDtoHAsync(out.ctypes.data, buffers[2], nbytes, stream))
    check(driver.cuEventRecord(end, stream))
    check(driver.cuStreamSynchronize(stream))
    np.testing.assert_array_equal(out, np.float32(2) * x + y)
    assert check(driver.cuEventElapsedTime(begin, end)) >= 0

    # A constant bank, and arguments as (values, types).
    place, size = check(driver.cuModuleGetGlobal(module, b"factors"))
    assert size == 16
    check(driver.cuMemcpyHtoD(place, np.arange(4, dtype=np.float32).ctypes.data, 16))
    check(driver.cuLaunchKernel(scale, 8, 1, 1, 128, 1, 1, 0, stream,
                                ((buffers[2], count), (None, ctypes.c_int)), 0))  # fmt: skip
    check(driver.cuStreamSynchronize(stream))
    scaled = np.zeros(count, np.float32)
    check(driver.cuMemcpyDtoH(scaled.ctypes.data, buffers[2], nbytes))
    np.testing.assert_array_equal(scaled, out * np.tile(np.arange(4, dtype=np.float32), count // 4))

    # A captured graph, replayed: each replay reads what is in the buffers then.
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL
    check(driver.cuStreamBeginCapture(stream, mode))
    check(driver.cuLaunchKernel(saxpy, -(-count // 256), 1, 1, 256, 1, 1, 0, stream,
                                table.ctypes.data, 0))  # fmt: skip
    check(driver.cuMemcpyDtoDAsync(buffers[1], buffers[2], nbytes, stream))
    graph = check(driver.cuStreamEndCapture(stream))
    _, nodes = check(driver.cuGraphGetNodes(graph))
    assert nodes == 2
    executable = check(driver.cuGraphInstantiate(graph, 0))
    for _ in range(3):
        check(driver.cuGraphLaunch(executable, stream))
    check(driver.cuStreamSynchronize(stream))
    check(driver.cuMemcpyDtoH(out.ctypes.data, buffers[1], nbytes))
    expected = y
    for _ in range(3):
        expected = np.float32(2) * x + expected
    np.testing.assert_array_equal(out, expected)

    # An error is an error, and what comes after it works.
    error, _ = driver.cuModuleGetFunction(module, b"missing")
    assert error == driver.CUresult.CUDA_ERROR_NOT_FOUND
    for buffer in buffers:
        check(driver.cuMemFreeAsync(buffer, stream))
    check(driver.cuStreamSynchronize(stream))
    check(driver.cuGraphExecDestroy(executable))
    check(driver.cuGraphDestroy(graph))
    check(driver.cuStreamDestroy(stream))
    check(driver.cuModuleUnload(module))
    check(driver.cuDevicePrimaryCtxRelease(device))
    print("fine")


if __name__ == "__main__":
    main()
