"""CuPy's textures and surfaces: filtered fetches, surface stores, an image that they rotate.

Every result is compared with NumPy's.

    vgpu run -- python examples/cupy_textures.py
"""

import math

import cupy as cp
import numpy as np
from cupy.cuda import runtime
from cupy.cuda.texture import (
    ChannelFormatDescriptor,
    CUDAarray,
    ResourceDescriptor,
    SurfaceObject,
    TextureDescriptor,
    TextureObject,
)
from cupyx.scipy.ndimage import affine_transform

SOURCE = r"""
extern "C" __global__ void resize(float* out, cudaTextureObject_t image, int width, int height) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < width && y < height)
    out[y * width + x] = tex2D<float>(image, (x + 0.5f) / width, (y + 0.5f) / height);
}
extern "C" __global__ void volume(float* out, cudaTextureObject_t box, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n * n * n) out[i] = tex3D<float>(box, i % n, i / n % n, i / n / n);
}
extern "C" __global__ void table(float* out, cudaTextureObject_t values, const int* at, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = tex1Dfetch<float>(values, at[i]);
}
extern "C" __global__ void transpose(cudaSurfaceObject_t from, cudaSurfaceObject_t to, int n) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < n && y < n) surf2Dwrite(surf2Dread<float>(from, x * 4, y), to, y * 4, x);
}
extern "C" __global__ void colours(float4* out, cudaTextureObject_t image, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = tex1D<float4>(image, i);
}
"""
FLOAT = ChannelFormatDescriptor(32, 0, 0, 0, runtime.cudaChannelFormatKindFloat)
CLAMP = (runtime.cudaAddressModeClamp,) * 3
RNG = np.random.default_rng(3)


def array_of(data: cp.ndarray, channels: ChannelFormatDescriptor = FLOAT, flags: int = 0):
    array = CUDAarray(channels, *data.shape[::-1], *(0,) * (3 - data.ndim), flags)
    array.copy_from(data)
    return array


def texture(array: CUDAarray, filter_mode: int, read_mode: int = 0, **how) -> TextureObject:
    resource = ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=array)
    return TextureObject(resource, TextureDescriptor(CLAMP, filter_mode, read_mode, **how))


def check_resize(module: cp.RawModule) -> None:
    small = RNG.random((8, 8), np.float32)
    smooth = runtime.cudaFilterModeLinear
    image = texture(array_of(cp.asarray(small)), smooth, normalizedCoords=1)
    big = cp.zeros((32, 32), np.float32)
    module.get_function("resize")((4, 4), (8, 8), (big, image, 32, 32))
    place = (np.arange(32) + 0.5) / 4 - 0.5
    first = np.floor(place).astype(int)
    part = (place - first).astype(np.float32)
    low, high = np.clip(first, 0, 7), np.clip(first + 1, 0, 7)
    rows = small[low] * (1 - part)[:, None] + small[high] * part[:, None]
    wanted = rows[:, low] * (1 - part) + rows[:, high] * part
    np.testing.assert_allclose(big.get(), wanted, rtol=1e-5)


def check_volume_and_table(module: cp.RawModule) -> None:
    box = RNG.random((6, 6, 6), np.float32)
    out = cp.zeros_like(cp.asarray(box))
    point = runtime.cudaFilterModePoint
    module.get_function("volume")((4,), (64,), (out, texture(array_of(cp.asarray(box)), point), 6))
    np.testing.assert_array_equal(out.get(), box)
    values = cp.asarray(RNG.random(1000, np.float32))
    resource = ResourceDescriptor(
        runtime.cudaResourceTypeLinear, arr=values, chDesc=FLOAT, sizeInBytes=values.nbytes
    )
    table = TextureObject(resource, TextureDescriptor(CLAMP, point, 0))
    at = cp.asarray(RNG.integers(0, 1000, 500, np.int32))
    out = cp.zeros(500, np.float32)
    module.get_function("table")((8,), (64,), (out, table, at, 500))
    np.testing.assert_array_equal(out.get(), values.get()[at.get()])


def check_colours(module: cp.RawModule) -> None:
    pixels = RNG.integers(0, 256, (64, 4), np.uint8)
    kind = ChannelFormatDescriptor(8, 8, 8, 8, runtime.cudaChannelFormatKindUnsigned)
    array = CUDAarray(kind, 64)
    array.copy_from(cp.asarray(pixels.ravel()))
    image = texture(array, runtime.cudaFilterModePoint, runtime.cudaReadModeNormalizedFloat)
    out = cp.zeros((64, 4), np.float32)
    module.get_function("colours")((1,), (64,), (out, image, 64))
    np.testing.assert_allclose(out.get(), pixels / np.float32(255), rtol=1e-6)


def check_surfaces(module: cp.RawModule) -> None:
    data = RNG.random((16, 16), np.float32)
    store = runtime.cudaArraySurfaceLoadStore
    arrays = [array_of(cp.asarray(given), flags=store) for given in (data, np.zeros_like(data))]
    surfaces = [
        SurfaceObject(ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=a)) for a in arrays
    ]
    module.get_function("transpose")((2, 2), (8, 8), (*surfaces, 16))
    back = cp.zeros((16, 16), np.float32)
    arrays[1].copy_to(back)
    np.testing.assert_array_equal(back.get(), data.T)


def check_rotation() -> None:
    image = cp.asarray(RNG.random((48, 40), np.float32))
    c, s = math.cos(0.3), math.sin(0.3)
    matrix = cp.asarray([[c, -s, 5.0], [s, c, -4.0], [0, 0, 1]], np.float32)
    plain = affine_transform(image, matrix, order=1, mode="nearest")
    textured = affine_transform(image, matrix, order=1, mode="nearest", texture_memory=True)
    # The texture unit rounds positions to 1/256 of a texel.
    np.testing.assert_allclose(textured.get(), plain.get(), atol=2 / 256)


def main() -> None:
    module = cp.RawModule(code=SOURCE)
    check_resize(module)
    check_volume_and_table(module)
    check_colours(module)
    check_surfaces(module)
    check_rotation()
    print("all checks passed")


if __name__ == "__main__":
    main()
