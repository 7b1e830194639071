// MD2 (RFC 1319) and HMAC (RFC 2104) over it: the runtime's start-up self-test asks for them. Not
// for anything that needs a secure hash.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace vgpu::contract {

using Md2Digest = std::array<uint8_t, 16>;

Md2Digest md2(std::span<const uint8_t> message);
Md2Digest hmac_md2(std::span<const uint8_t> key, std::span<const uint8_t> message);

}  // namespace vgpu::contract
