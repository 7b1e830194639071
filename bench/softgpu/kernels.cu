// Kernels of the benchmark, compiled to PTX by NVRTC.

extern "C" __global__ void empty() {}

// One thread per element, a dependent chain of 4096 fused multiply-adds.
extern "C" __global__ void fma_chain(float* data, float a, float b) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  float x = data[i];
  for (int round = 0; round < 64; ++round) {
#pragma unroll
    for (int k = 0; k < 64; ++k) x = fmaf(x, a, b);
  }
  data[i] = x;
}

// 512 rounds of eight integer operations of different kinds.
extern "C" __global__ void integer_chain(unsigned* data, unsigned a, unsigned b) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned x = data[i];
#pragma unroll 16
  for (int round = 0; round < 512; ++round) {
    x = x * a;
    x = x + b;
    x = x ^ (x >> 7);
    x = min(x, ~b);
    x = x - a;
    x = (x << 3) | b;
  }
  data[i] = x;
}

// C = A B for square matrices whose side is a multiple of 16, by tiles in shared memory.
extern "C" __global__ void tiled_matmul(const float* a, const float* b, float* c, int n) {
  __shared__ float left[16][16], right[16][16];
  const int x = threadIdx.x, y = threadIdx.y;
  const int row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x;
  float sum = 0;
  for (int tile = 0; tile < n; tile += 16) {
    left[y][x] = a[row * n + tile + x];
    right[y][x] = b[(tile + y) * n + column];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 16; ++k) sum += left[y][k] * right[k][x];
    __syncthreads();
  }
  c[row * n + column] = sum;
}

// Counts bytes: atomics in shared memory per block, then in global memory.
extern "C" __global__ void histogram(const unsigned char* data, int n, unsigned* bins) {
  __shared__ unsigned mine[256];
  mine[threadIdx.x] = 0;
  __syncthreads();
  for (int i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) {
    atomicAdd(&mine[data[i]], 1u);
  }
  __syncthreads();
  atomicAdd(&bins[threadIdx.x], mine[threadIdx.x]);
}
