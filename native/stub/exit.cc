// The end of the process: what is queued is sent, with a deadline; a dead peer is not waited for.
#include "stub/process.h"
#include "stub/statistics.h"

namespace vgpu::stub {
namespace {

constexpr int kFlushMs = 2000;

// Runs after the atexit handlers and destructors of everything that was loaded after us: the CUDA
// runtime still calls the driver from its own. Not in a forked child: it has no session.
[[gnu::destructor]] void at_exit() {
  Process* current = process();
  if (current == nullptr) return;
  write_statistics();
  current->close(kFlushMs);
}

}  // namespace
}  // namespace vgpu::stub
