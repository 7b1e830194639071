#include "stub/graph_host.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "stub/call.h"
#include "stub/log.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub {
namespace {

using wire::HostAction;
using wire::HostVerb;

struct Entries {
  std::mutex mutex;  // guards all below
  std::unordered_map<uint64_t, HostEntry> known;
  uint64_t last = 0;
  bool served = false;
};
Entries& entries() {
  static auto* one = new Entries;
  return *one;
}

// A transfer takes as many bytes of staging memory at the other end.
constexpr size_t kPiece = 32u << 20;

CUresult send_piece(uint64_t id, uint64_t offset, const std::byte* bytes, size_t size) {
  Call call(Opcode::cuStreamAddCallback, nullptr);
  if (!call.ok()) return call.result();
  call.adds_no_work();
  const bool inline_bytes = size <= wire::kMaxInline;
  if (!inline_bytes) {
    call.has_bulk();
    call.put(process()->link()->send_bulk(bytes, size));
  }
  call.put(uint64_t{0});
  call.put(HostVerb::kSend);
  call.put(id);
  call.put(offset);
  call.put(static_cast<uint64_t>(size));
  if (inline_bytes) call.tail(bytes, size);
  return call.wait();
}

CUresult fetch_piece(uint64_t id, uint64_t offset, std::byte* bytes, size_t size) {
  Call call(Opcode::cuStreamAddCallback, nullptr);
  if (!call.ok()) return call.result();
  call.adds_no_work();
  const bool in_reply = size <= wire::kMaxInline;
  uint64_t transfer = 0;
  if (!in_reply) {
    call.has_bulk();
    transfer = process()->link()->expect_bulk(bytes, size);
    call.put(transfer);
  }
  call.put(uint64_t{0});
  call.put(HostVerb::kFetch);
  call.put(id);
  call.put(offset);
  call.put(static_cast<uint64_t>(size));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) {
    if (transfer != 0) process()->link()->forget_bulk(transfer);
    return result;
  }
  if (in_reply) {
    const auto came = call.reply().take(size);
    if (!call.reply().ok()) return CUDA_ERROR_UNKNOWN;
    std::memcpy(bytes, came.data(), size);
  }
  return CUDA_SUCCESS;
}

// All of a packed host side, `move(offset, bytes, size)` at a time.
template <typename Byte, typename Move>
CUresult in_pieces(Byte* bytes, size_t size, Move move) {
  for (size_t offset = 0; offset < size; offset += kPiece) {
    const CUresult result = move(offset, bytes + offset, std::min(kPiece, size - offset));
    if (result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

CUresult send_source(uint64_t id, const HostBox& box) {
  std::vector<std::byte> packed;
  const std::byte* bytes = box.rows.row(0, 0);
  if (!box.contiguous()) {
    packed = gather(box);
    bytes = packed.data();
  }
  return in_pieces(bytes, box.bytes(), [&](size_t offset, const std::byte* at, size_t size) {
    return send_piece(id, offset, at, size);
  });
}

CUresult fetch_destination(uint64_t id, const HostBox& box) {
  const bool direct = box.contiguous();
  std::vector<std::byte> packed(direct ? 0 : box.bytes());
  std::byte* bytes = direct ? box.rows.row(0, 0) : packed.data();
  const CUresult result = in_pieces(
      bytes, box.bytes(),
      [&](size_t offset, std::byte* at, size_t size) { return fetch_piece(id, offset, at, size); });
  if (result == CUDA_SUCCESS && !direct) scatter(box, packed.data());
  return result;
}

void perform(HostAction action, uint64_t id) {
  const auto entry = find_host_entry(id);
  if (!entry) return;
  CUresult result = CUDA_SUCCESS;
  switch (action) {
    case HostAction::kRunFunction:
      entry->function(entry->user);
      return;
    case HostAction::kSendSource:
      result = send_source(id, entry->box);
      break;
    case HostAction::kFetchDestination:
      result = fetch_destination(id, entry->box);
      break;
    case HostAction::kForget:
    case HostAction::kKeepMemory:
      process()->allocations.end_graph(entry->address, id, action == HostAction::kKeepMemory);
      forget_host_entry(id);
      return;
    case HostAction::kDestroyObject:
      process()->user_objects.destroy(entry->object);
      forget_host_entry(id);
      entry->function(entry->user);
      return;
  }
  if (result != CUDA_SUCCESS) {
    log(LogLevel::kError, "host memory of a graph: error %d", static_cast<int>(result));
  }
}

// Until the session ends.
void* serve(void*) {
  uint64_t done = 0;
  for (;;) {
    std::vector<std::pair<HostAction, uint64_t>> actions;
    {
      Call call(Opcode::cuStreamAddCallback, nullptr);
      if (!call.ok()) return nullptr;
      call.adds_no_work();
      call.put(uint64_t{0});
      call.put(HostVerb::kWait);
      call.put(done);
      if (call.wait() != CUDA_SUCCESS) return nullptr;
      done = call.get<uint64_t>();
      const auto count = call.get<uint32_t>();
      for (uint32_t i = 0; i < count && call.reply().ok(); ++i) {
        const auto action = call.get<HostAction>();
        actions.emplace_back(action, call.get<uint64_t>());
      }
    }
    for (const auto& [action, id] : actions) perform(action, id);
  }
}

// Requires entries().mutex.
void start_service() {
  if (std::exchange(entries().served, true)) return;
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  if (::pthread_create(&thread, nullptr, serve, nullptr) == 0) ::pthread_detach(thread);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

uint64_t add_host_entry(const HostEntry& entry) {
  const std::lock_guard lock(entries().mutex);
  start_service();
  const uint64_t id = ++entries().last;
  entries().known.emplace(id, entry);
  return id;
}

std::optional<HostEntry> find_host_entry(uint64_t id) {
  const std::lock_guard lock(entries().mutex);
  const auto found = entries().known.find(id);
  return found == entries().known.end() ? std::nullopt : std::optional(found->second);
}

void forget_host_entry(uint64_t id) {
  const std::lock_guard lock(entries().mutex);
  entries().known.erase(id);
}

CUresult free_graph_memory(Call& call, const Allocation& memory) {
  call.put(memory.base);
  const CUresult result = call.wait();
  const bool gone = result == CUDA_SUCCESS && call.get<uint32_t>() != 0;
  if (gone) process()->allocations.end_graph(memory.base, memory.owner, false);
  return result;
}

void set_host_entry_address(uint64_t id, uint64_t address) {
  const std::lock_guard lock(entries().mutex);
  const auto found = entries().known.find(id);
  if (found != entries().known.end()) found->second.address = address;
}

}  // namespace vgpu::stub
