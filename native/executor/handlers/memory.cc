// Device memory, within the quota: bytes are counted before the driver is asked, and given back
// when it has really freed them.
#include <algorithm>

#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

// Frees that the client has asked for may still be under way: the allocation then comes again
// behind them, and only then fails.
CUresult out_of_memory(Session& session, const Command& command) {
  return session.retry_in_order(command) ? kDeferred : CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace

CUresult cuMemAlloc_v2(Session& session, const Command& command, wire::Reader& in,
                       wire::Writer& out) {
  const auto size = in.get<uint64_t>();
  const ContextState* context = session.context();
  if (!in.ok() || size == 0) return CUDA_ERROR_INVALID_VALUE;
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const uint32_t ordinal = context->ordinal;
  if (!session.allocations().reserve(ordinal, size)) return out_of_memory(session, command);
  CUdeviceptr address = 0;
  const CUresult result = session.driver().cuMemAlloc_v2(&address, size);
  if (result != CUDA_SUCCESS) {
    session.allocations().cancel(ordinal, size);
    return result == CUDA_ERROR_OUT_OF_MEMORY ? out_of_memory(session, command) : result;
  }
  session.allocations().add(address, size, ordinal, context->id);
  out.put(static_cast<uint64_t>(address));
  return CUDA_SUCCESS;
}

CUresult cuMemAllocPitch_v2(Session& session, const Command& command, wire::Reader& in,
                            wire::Writer& out) {
  const auto width = in.get<uint64_t>();
  const auto height = in.get<uint64_t>();
  const auto element = in.get<uint32_t>();
  const ContextState* context = session.context();
  constexpr uint64_t kPitchGuess = 512;  // rows are padded to at most this on every device
  if (!in.ok() || width == 0 || height == 0) return CUDA_ERROR_INVALID_VALUE;
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (width > (uint64_t{1} << 48) || height > (uint64_t{1} << 48) / width) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const uint64_t most = (width + kPitchGuess - 1) / kPitchGuess * kPitchGuess * height;
  const uint32_t ordinal = context->ordinal;
  if (!session.allocations().reserve(ordinal, most)) return out_of_memory(session, command);
  CUdeviceptr address = 0;
  size_t pitch = 0;
  const CUresult result =
      session.driver().cuMemAllocPitch_v2(&address, &pitch, width, height, element);
  if (result != CUDA_SUCCESS) {
    session.allocations().cancel(ordinal, most);
    return result == CUDA_ERROR_OUT_OF_MEMORY ? out_of_memory(session, command) : result;
  }
  // Now the size is known: what was counted too much goes back.
  const uint64_t exact = std::min<uint64_t>(most, pitch * height);
  if (Ledger* ledger = session.allocations().ledger(); ledger != nullptr) {
    ledger->release(ordinal, Ledger::rounded(most) - Ledger::rounded(exact));
  }
  session.allocations().add(address, exact, ordinal, context->id);
  out.put(static_cast<uint64_t>(address));
  out.put(static_cast<uint64_t>(pitch));
  return CUDA_SUCCESS;
}

// On the helper thread: the driver waits for the device.
CUresult cuMemFree_v2(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const auto address = in.get<uint64_t>();
  if (const auto known = session.allocations().find(address); known && known->graph_entry != 0) {
    return free_graph_memory(session, address, known->graph_entry, out,
                             [&] { return session.driver().cuMemFree_v2(address); });
  }
  const auto allocation = in.ok() ? session.allocations().take(address) : std::nullopt;
  if (!allocation) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = session.driver().cuMemFree_v2(address);
  session.allocations().give_back(*allocation);
  return result;
}

CUresult cuMemGetInfo_v2(Session& session, const Command&, wire::Reader&, wire::Writer& out) {
  const ContextState* context = session.context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  size_t available = 0;
  size_t total = 0;
  const CUresult result = session.driver().cuMemGetInfo_v2(&available, &total);
  if (const Ledger* ledger = session.allocations().ledger(); ledger != nullptr) {
    if (const uint64_t limit = ledger->limit(context->ordinal); limit != 0) {
      const uint64_t used = ledger->used(context->ordinal);
      total = std::min<size_t>(total, limit);
      available = std::min<size_t>(available, limit > used ? limit - used : 0);
    }
  }
  out.put(static_cast<uint64_t>(available));
  out.put(static_cast<uint64_t>(total));
  return result;
}

}  // namespace vgpu::executor::handlers
