#include "stub/output.h"

#include <atomic>
#include <cstdio>
#include <mutex>
#include <string>
#include <utility>

namespace vgpu::stub {
namespace {

// A program that never waits must not make us keep its output for ever.
constexpr size_t kMostKept = size_t{1} << 20;

struct Output {
  std::mutex printing;  // keeps two printers in order
  std::mutex mutex;     // guards text
  std::string text[2];
};

constinit std::atomic<bool> waiting{false};

Output& output() {
  static Output* instance = new Output;
  return *instance;
}

}  // namespace

void keep_output(uint32_t stream, std::string_view text) {
  if (stream != 1 && stream != 2) return;
  bool full = false;
  {
    const std::lock_guard lock(output().mutex);
    std::string& kept = output().text[stream - 1];
    kept += text;
    full = kept.size() > kMostKept;
    waiting.store(true, std::memory_order_release);
  }
  if (full) print_output();
}

// Through the C library's streams: in order with what the program has printed itself.
void print_output() {
  if (!waiting.load(std::memory_order_acquire)) return;
  const std::lock_guard order(output().printing);
  std::string text[2];
  {
    const std::lock_guard lock(output().mutex);
    std::swap(text[0], output().text[0]);
    std::swap(text[1], output().text[1]);
    waiting.store(false, std::memory_order_relaxed);
  }
  std::FILE* const files[] = {stdout, stderr};
  for (int i = 0; i < 2; ++i) {
    if (text[i].empty()) continue;
    std::fwrite(text[i].data(), 1, text[i].size(), files[i]);
    std::fflush(files[i]);
  }
}

}  // namespace vgpu::stub
