#include "softgpu/driver/occupancy.h"

#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/launch.h"

namespace vgpu::softgpu {
namespace {

constexpr unsigned kWarp = 32;

unsigned shared_of_block(const Function& function, size_t dynamic) {
  return function.kernel().static_shared_bytes + static_cast<unsigned>(dynamic) + kReservedShared;
}

}  // namespace

unsigned blocks_per_sm(const Function& function, unsigned threads, size_t dynamic_shared) {
  if (threads == 0 || threads > kThreadsPerBlock) return 0;
  if (function.kernel().static_shared_bytes + dynamic_shared > kSharedLimit) return 0;
  const unsigned warps = (threads + kWarp - 1) / kWarp;
  const unsigned registers = std::clamp(function.kernel().registers, 16u, 255u);
  const unsigned per_warp = (registers * kWarp + 255) / 256 * 256;
  return std::max(1u, std::min({kBlocksPerSm, kThreadsPerSm / (warps * kWarp),
                                kRegistersPerSm / (per_warp * warps),
                                kSharedPerSm / shared_of_block(function, dynamic_shared)}));
}

namespace api {
namespace {

int function_threads(const FoundFunction& found) {
  int limit = 0;
  function_attribute(*found.function, *found.context, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                     &limit);
  return limit;
}

CUresult active_blocks(int* blocks, CUfunction handle, int threads, size_t dynamic) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  if (blocks == nullptr || threads <= 0) return CUDA_ERROR_INVALID_VALUE;
  const bool fits = threads <= function_threads(found) &&
                    found.function->kernel().static_shared_bytes + dynamic <= kSharedLimit;
  *blocks = fits ? static_cast<int>(
                       blocks_per_sm(*found.function, static_cast<unsigned>(threads), dynamic))
                 : 0;
  return CUDA_SUCCESS;
}

CUresult potential_block(int* grid, int* block, CUfunction handle, CUoccupancyB2DSize shared_of,
                         size_t dynamic, int limit) {
  FoundFunction found;
  if (const CUresult result = find_function(handle, found)) return result;
  if (grid == nullptr || block == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const int most = function_threads(found);
  limit = limit <= 0 ? most : std::min(limit, most);
  int best = 0;
  for (int threads = limit; threads > 0;
       threads = threads % 32 == 0 ? threads - 32 : threads / 32 * 32) {
    const size_t shared = shared_of != nullptr ? shared_of(threads) : dynamic;
    const unsigned blocks = blocks_per_sm(*found.function, static_cast<unsigned>(threads), shared);
    const int resident = static_cast<int>(blocks) * threads;
    if (resident <= best) continue;
    best = resident;
    *block = threads;
    *grid = static_cast<int>(blocks) * found.context->device.sms;
  }
  return best > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

struct ClusterQuery {
  unsigned size = 1;
  unsigned threads = 0;
};
CUresult cluster_query(const FoundFunction& found, const CUlaunchConfig* config,
                       ClusterQuery& query) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) continue;
    const auto& dimension = config->attrs[i].value.clusterDim;
    query.size = dimension.x * dimension.y * dimension.z;
  }
  query.threads = config->blockDimX * config->blockDimY * config->blockDimZ;
  const unsigned limit =
      found.function->settings.non_portable_cluster != 0 ? 2 * kMaxCluster : kMaxCluster;
  if (query.size == 0 || query.threads == 0) return CUDA_ERROR_INVALID_VALUE;
  return query.size > limit ? CUDA_ERROR_INVALID_CLUSTER_SIZE : CUDA_SUCCESS;
}

}  // namespace

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction f, int threads,
                                                     size_t dynamic) {
  return active_blocks(blocks, f, threads, dynamic);
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction f,
                                                              int threads, size_t dynamic,
                                                              unsigned) {
  return active_blocks(blocks, f, threads, dynamic);
}
CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction f,
                                          CUoccupancyB2DSize shared_of, size_t dynamic, int limit) {
  return potential_block(grid, block, f, shared_of, dynamic, limit);
}
CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction f,
                                                   CUoccupancyB2DSize shared_of, size_t dynamic,
                                                   int limit, unsigned) {
  return potential_block(grid, block, f, shared_of, dynamic, limit);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, CUfunction f, int blocks,
                                                 int threads) {
  FoundFunction found;
  if (const CUresult result = find_function(f, found)) return result;
  if (bytes == nullptr || blocks <= 0 || threads <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (static_cast<unsigned>(blocks) >
      blocks_per_sm(*found.function, static_cast<unsigned>(threads), 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const unsigned fixed = found.function->kernel().static_shared_bytes + kReservedShared;
  const unsigned share = kSharedPerSm / static_cast<unsigned>(blocks);
  const unsigned most = kSharedLimit - found.function->kernel().static_shared_bytes;
  *bytes = share <= fixed ? 0 : std::min(share - fixed, most);
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialClusterSize(int* size, CUfunction f, const CUlaunchConfig* config) {
  FoundFunction found;
  if (const CUresult result = find_function(f, found)) return result;
  if (size == nullptr || config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *size = found.function->settings.non_portable_cluster != 0 ? 2 * kMaxCluster : kMaxCluster;
  return CUDA_SUCCESS;
}

// A cluster lives in one group of multiprocessors; the device is one such group. cuBLASLt rebuilds
// the groups from these answers, so they must be what that layout gives.
CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction f, const CUlaunchConfig* config) {
  FoundFunction found;
  if (const CUresult result = find_function(f, found)) return result;
  if (clusters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ClusterQuery query;
  if (const CUresult result = cluster_query(found, config, query)) return result;
  const unsigned blocks = blocks_per_sm(*found.function, query.threads, config->sharedMemBytes);
  *clusters =
      static_cast<int>(blocks * static_cast<unsigned>(found.context->device.sms) / query.size);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu
