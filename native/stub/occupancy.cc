// Occupancy: constant per function and configuration, so each question travels once.
#include <algorithm>
#include <mutex>
#include <string>
#include <unordered_map>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/launch.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

// Answers by the bytes of the question. Function ids are never reused; setting a function's
// attributes changes its answers, so they are part of the key.
struct Answers {
  std::mutex mutex;  // guards known
  std::unordered_map<std::string, uint64_t> known;
};
Answers& answers() {
  static Answers* instance = new Answers;
  return *instance;
}

template <typename T>
void append(std::string& key, const T& value) {
  key.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string key_of(Opcode opcode, uint64_t id, const Function& function) {
  std::string key;
  append(key, opcode);
  append(key, id);
  append(key, this_thread().current());
  for (int i = 0; i < function.attribute_count; ++i) {
    append(key, function.attributes[i].load(std::memory_order_relaxed));
  }
  return key;
}

bool look_up(const std::string& key, uint64_t* value) {
  const std::lock_guard lock(answers().mutex);
  const auto found = answers().known.find(key);
  if (found == answers().known.end()) return false;
  *value = found->second;
  return true;
}

void remember(const std::string& key, uint64_t value) {
  const std::lock_guard lock(answers().mutex);
  answers().known[key] = value;
}

CUresult find_function(CUfunction handle, Function** function) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  *function = process()->function(handle);
  return *function == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult cluster_query(Opcode opcode, int* out, CUfunction handle, const CUlaunchConfig* config) {
  Function* function = nullptr;
  if (const CUresult result = find_function(handle, &function); result != CUDA_SUCCESS)
    return result;
  if (out == nullptr || config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const LaunchShape shape{{config->gridDimX, config->gridDimY, config->gridDimZ},
                          {config->blockDimX, config->blockDimY, config->blockDimZ},
                          config->sharedMemBytes};
  std::string key = key_of(opcode, as_id(handle), *function);
  append(key, shape);
  for (unsigned i = 0; config->attrs != nullptr && i < config->numAttrs; ++i) {
    append(key, config->attrs[i].id);
    append(key, config->attrs[i].value);
  }
  uint64_t known = 0;
  if (look_up(key, &known)) {
    *out = static_cast<int>(known);
    return CUDA_SUCCESS;
  }
  Call call(opcode);
  call.adds_no_work();
  put_shape(call, as_id(handle), shape);
  CUresult result = put_attributes(call, config->attrs, config->numAttrs);
  if (result == CUDA_SUCCESS) result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  *out = call.get<int32_t>();
  remember(key, static_cast<uint64_t>(*out));
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* numBlocks, CUfunction func,
                                                              int blockSize, size_t dynamicSMemSize,
                                                              unsigned int flags) {
  Function* function = nullptr;
  if (const CUresult result = find_function(func, &function); result != CUDA_SUCCESS) return result;
  if (numBlocks == nullptr || blockSize <= 0) return CUDA_ERROR_INVALID_VALUE;
  constexpr Opcode kOpcode = Opcode::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags;
  std::string key = key_of(kOpcode, as_id(func), *function);
  append(key, blockSize);
  append(key, dynamicSMemSize);
  append(key, flags);
  uint64_t known = 0;
  if (!look_up(key, &known)) {
    Call call(kOpcode);
    call.adds_no_work();
    call.put(as_id(func));
    call.put(static_cast<int32_t>(blockSize));
    call.put(static_cast<uint64_t>(dynamicSMemSize));
    call.put(flags);
    const CUresult result = call.wait();
    if (result != CUDA_SUCCESS) return result;
    known = static_cast<uint64_t>(call.get<int32_t>());
    remember(key, known);
  }
  *numBlocks = static_cast<int>(known);
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* numBlocks, CUfunction func, int blockSize,
                                                     size_t dynamicSMemSize) {
  return api::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
      numBlocks, func, blockSize, dynamicSMemSize, CU_OCCUPANCY_DEFAULT);
}

// The largest block size (in warps) with the most resident threads: what CUDA documents.
CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* minGridSize, int* blockSize,
                                                   CUfunction func,
                                                   CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                   size_t dynamicSMemSize, int blockSizeLimit,
                                                   unsigned int flags) {
  Function* function = nullptr;
  if (const CUresult result = find_function(func, &function); result != CUDA_SUCCESS) return result;
  if (minGridSize == nullptr || blockSize == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto& has = this_thread().current()->device->attributes;
  const int warp = std::max(has[CU_DEVICE_ATTRIBUTE_WARP_SIZE], 1);
  int limit = has[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK];
  const int own = function->attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK];
  if (own > 0) limit = std::min(limit, own);
  if (blockSizeLimit > 0) limit = std::min(limit, blockSizeLimit);
  int best_threads = 0;
  *blockSize = *minGridSize = 0;
  for (int size = (limit + warp - 1) / warp * warp; size > 0; size -= warp) {
    const int block = std::min(size, limit);
    const size_t shared =
        blockSizeToDynamicSMemSize != nullptr ? blockSizeToDynamicSMemSize(block) : dynamicSMemSize;
    int blocks = 0;
    const CUresult result = api::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        &blocks, func, block, shared, flags);
    if (result != CUDA_SUCCESS) return result;
    if (blocks * block <= best_threads) continue;
    best_threads = blocks * block;
    *blockSize = block;
    *minGridSize = blocks * has[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT];
    if (best_threads >= has[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR]) break;
  }
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int* minGridSize, int* blockSize, CUfunction func,
                                          CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                          size_t dynamicSMemSize, int blockSizeLimit) {
  return api::cuOccupancyMaxPotentialBlockSizeWithFlags(minGridSize, blockSize, func,
                                                        blockSizeToDynamicSMemSize, dynamicSMemSize,
                                                        blockSizeLimit, CU_OCCUPANCY_DEFAULT);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* dynamicSmemSize, CUfunction func,
                                                 int numBlocks, int blockSize) {
  Function* function = nullptr;
  if (const CUresult result = find_function(func, &function); result != CUDA_SUCCESS) return result;
  if (dynamicSmemSize == nullptr) return CUDA_ERROR_INVALID_VALUE;
  constexpr Opcode kOpcode = Opcode::cuOccupancyAvailableDynamicSMemPerBlock;
  std::string key = key_of(kOpcode, as_id(func), *function);
  append(key, numBlocks);
  append(key, blockSize);
  uint64_t known = 0;
  if (!look_up(key, &known)) {
    Call call(kOpcode);
    call.adds_no_work();
    call.put(as_id(func));
    call.put(static_cast<int32_t>(numBlocks));
    call.put(static_cast<int32_t>(blockSize));
    const CUresult result = call.wait();
    if (result != CUDA_SUCCESS) return result;
    known = call.get<uint64_t>();
    remember(key, known);
  }
  *dynamicSmemSize = known;
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialClusterSize(int* clusterSize, CUfunction func,
                                            const CUlaunchConfig* config) {
  return cluster_query(Opcode::cuOccupancyMaxPotentialClusterSize, clusterSize, func, config);
}
CUresult cuOccupancyMaxActiveClusters(int* numClusters, CUfunction func,
                                      const CUlaunchConfig* config) {
  return cluster_query(Opcode::cuOccupancyMaxActiveClusters, numClusters, func, config);
}

}  // namespace vgpu::stub::api
