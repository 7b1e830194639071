#include "contract/self_test.h"

#include <pthread.h>
#include <unistd.h>

#include <cstring>
#include <type_traits>

#include "contract/md2.h"

namespace vgpu::contract {
namespace {

constexpr std::array<uint8_t, 16> kKey = {0x14, 0x6A, 0xDD, 0xAE, 0x53, 0xA9, 0xA7, 0x52,
                                          0xAA, 0x08, 0x41, 0x36, 0x0B, 0xF5, 0x5A, 0x9F};

template <typename T>
void append(std::vector<uint8_t>& message, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&value);  // little endian, packed
  message.insert(message.end(), bytes, bytes + sizeof(T));
}

}  // namespace

std::array<uint64_t, 2> self_test_answer(uint32_t id, uint64_t unix_seconds, const Driver& driver,
                                         const SelfTestTables& tables) {
  // The first two questions of each runtime have constant answers; the third is keyed.
  if (id % 10 == 0) return {0x3341181C03CB675C, 0x8ED383AA1F4CD1E8};
  if (id % 10 == 1) return {0x1841181C03CB675C, 0x8ED383AA1F4CD1E8};

  std::vector<uint8_t> message;
  append(message, static_cast<uint32_t>(driver.driver_version()));
  append(message, id);
  append(message, static_cast<uint32_t>(getpid()));
  append(message, static_cast<uint32_t>(pthread_self()));
  append(message, tables.runtime_interface);
  append(message, tables.integrity_check);
  append(message, tables.slot);
  append(message, unix_seconds);
  for (const DeviceIdentity& device : driver.devices()) {
    append(message, device.uuid);
    append(message, device.pci_domain);
    append(message, device.pci_bus);
    append(message, device.pci_device);
  }
  const Md2Digest digest = hmac_md2(kKey, message);
  std::array<uint64_t, 2> answer;
  static_assert(sizeof(answer) == sizeof(digest));
  std::memcpy(answer.data(), digest.data(), sizeof(answer));
  return answer;
}

}  // namespace vgpu::contract
