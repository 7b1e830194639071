// The keyed answer that a CUDA runtime demands at start: HMAC-MD2 over facts of this process.
#pragma once

#include <array>
#include <cstdint>

#include "contract/contract.h"

namespace vgpu::contract {

struct SelfTestTables {
  const void* runtime_interface;  // the table 6bd5fb6c
  const void* integrity_check;    // the table d4082055
  const void* slot;               // the content of its slot 1
};

// Must be called on the thread that asked: its identity is part of the message.
std::array<uint64_t, 2> self_test_answer(uint32_t id, uint64_t unix_seconds, const Driver& driver,
                                         const SelfTestTables& tables);

}  // namespace vgpu::contract
