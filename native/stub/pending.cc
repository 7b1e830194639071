#include "stub/pending.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/process.h"

namespace vgpu::stub {
namespace {

struct Download {
  uint64_t begin = 0;
  uint64_t end = 0;
  Stream* stream = nullptr;
  uint64_t stream_id = 0;
  uint64_t number = 0;
};

struct Downloads {
  std::mutex mutex;  // guards list
  std::vector<Download> list;
};

constinit std::atomic<size_t> download_count{0};
constinit std::atomic<int> host_functions{0};

Downloads& downloads() {
  static Downloads* instance = new Downloads;
  return *instance;
}

bool complete(const Download& download) {
  const Stream& stream = *download.stream;
  if (stream.id.load() != download.stream_id) return true;  // destroyed: nothing can be asked
  const Context& context = *stream.context;
  if (download.number <= stream.synced.load() || download.number <= context.synced.load())
    return true;
  return stream.blocking() && download.number <= context.blocking_synced.load();
}

// Requires downloads().mutex.
void prune() {
  std::erase_if(downloads().list, complete);
  download_count.store(downloads().list.size(), std::memory_order_release);
}

CUresult synchronize(Stream& stream) {
  const uint64_t through = newest_work(stream);
  Call call(Opcode::cuStreamSynchronize, stream.context);
  call.adds_no_work();
  call.stream(&stream);
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) set_complete(stream, through);
  return result;
}

}  // namespace

void add_pending_download(Stream& stream, const void* destination, size_t size, uint64_t number) {
  const auto begin = reinterpret_cast<uint64_t>(destination);
  const std::lock_guard lock(downloads().mutex);
  // A program that never uploads from such memory must not make the list grow.
  if (downloads().list.size() >= 64) prune();
  downloads().list.push_back({begin, begin + size, &stream, stream.id.load(), number});
  download_count.store(downloads().list.size(), std::memory_order_release);
}

void host_function_queued() { host_functions.fetch_add(1, std::memory_order_acq_rel); }
void host_function_done() { host_functions.fetch_sub(1, std::memory_order_acq_rel); }

CUresult settle_source(Stream& stream, const void* source, size_t size) {
  if (host_functions.load(std::memory_order_acquire) != 0 && !all_work_known_complete(stream)) {
    const CUresult result = synchronize(stream);
    if (result != CUDA_SUCCESS) return result;
  }
  if (download_count.load(std::memory_order_acquire) == 0) return CUDA_SUCCESS;
  const auto begin = reinterpret_cast<uint64_t>(source);
  std::vector<Download> overlapping;
  {
    const std::lock_guard lock(downloads().mutex);
    prune();
    for (const Download& download : downloads().list) {
      if (download.begin < begin + size && begin < download.end) overlapping.push_back(download);
    }
  }
  for (const Download& download : overlapping) {
    if (complete(download)) continue;
    const CUresult result = synchronize(*download.stream);
    if (result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

}  // namespace vgpu::stub
