#include "image/readable.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace vgpu::image {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kPagesAtOnce = 512;  // below IOV_MAX

}  // namespace

bool readable(const std::byte* from, uint64_t size) {
  auto at = reinterpret_cast<uint64_t>(from);
  if (size == 0) return true;
  if (size > UINT64_MAX - at) return false;
  const uint64_t end = at + size;
  char bytes[kPagesAtOnce];
  iovec pages[kPagesAtOnce];
  while (at < end) {
    size_t count = 0;
    for (; count < kPagesAtOnce && at < end; at = at / kPage * kPage + kPage) {
      pages[count++] = {reinterpret_cast<void*>(at), 1};
    }
    const iovec into{bytes, count};
    const ssize_t got = process_vm_readv(getpid(), &into, 1, pages, count, 0);
    if (got < 0 && errno != EFAULT) return true;  // forbidden here: trust the pointer
    if (got != static_cast<ssize_t>(count)) return false;
  }
  return true;
}

}  // namespace vgpu::image
