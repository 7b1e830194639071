#include "contract/contract.h"

#include <pthread.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "check.h"
#include "contract/md2.h"
#include "contract/self_test.h"

using namespace vgpu::contract;

namespace {

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
std::string hex(const Md2Digest& digest) {
  std::string text;
  char two[3];
  for (const uint8_t byte : digest) {
    std::snprintf(two, sizeof two, "%02x", byte);
    text += two;
  }
  return text;
}

CUcontext as_context(uintptr_t value) { return reinterpret_cast<CUcontext>(value); }
thread_local CUcontext current = nullptr;
int missing_logged = 0;
int functions_in_module = 2;

Driver fake_driver() {
  return {
      .driver_version = [] { return 13000; },
      .devices = [] { return std::vector<DeviceIdentity>{{.uuid = {1, 2, 3}, .pci_bus = 7}}; },
      .primary_context =
          [](CUcontext* context, CUdevice device) {
            *context = as_context(0x100 + static_cast<uintptr_t>(device));
            return CUDA_SUCCESS;
          },
      .current_context = [] { return current; },
      .context_device =
          [](CUcontext, CUdevice* device) {
            *device = 0;
            return CUDA_SUCCESS;
          },
      .context_id =
          [](CUcontext context, uint64_t* id) {
            *id = reinterpret_cast<uintptr_t>(context) + 1;
            return CUDA_SUCCESS;
          },
      .visit_functions =
          [](CUmodule, void (*visit)(void*, CUfunction), void* user) {
            for (int i = 0; i < functions_in_module; ++i) visit(user, nullptr);
            return CUDA_SUCCESS;
          },
      .module_load = [](CUmodule*, const void*) { return CUDA_SUCCESS; },
      .module_unload = [](CUmodule) { return CUDA_SUCCESS; },
      .log_missing_slot = [](const char*, int) { ++missing_logged; },
  };
}

using Uuid = std::array<uint8_t, 16>;
constexpr Uuid kRuntime = {0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a,
                           0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9};
constexpr Uuid kHooks = {0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74,
                         0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66};
constexpr Uuid kStorage = {0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11,
                           0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95, 0x93};
constexpr Uuid kIntegrity = {0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b,
                             0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1, 0xf2};
constexpr Uuid kFunctions = {0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d,
                             0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99, 0x1e};
constexpr Uuid kUnnamed = {0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45,
                           0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd, 0x8b, 0xca};

const void* const* table(const Uuid& id) {
  install(fake_driver());
  CUuuid uuid;
  std::memcpy(uuid.bytes, id.data(), id.size());
  const void* words = nullptr;
  CHECK_EQ(export_table(&words, &uuid), CUDA_SUCCESS);
  return static_cast<const void* const*>(words);
}
template <typename F>
F slot(const Uuid& id, int index) {
  return reinterpret_cast<F>(const_cast<void*>(table(id)[index]));
}

using Destructor = void (*)(CUcontext, void*, void*);
using Put = int (*)(CUcontext, void*, void*, Destructor);
using Erase = int (*)(CUcontext, void*);
using Get = int (*)(void**, CUcontext, void*);

}  // namespace

// The test suite of RFC 1319, appendix A.5.
TEST(md2_vectors) {
  CHECK_EQ(hex(md2(bytes(""))), "8350e5a3e24c153df2275c9f80692773");
  CHECK_EQ(hex(md2(bytes("a"))), "32ec01ec4a6dac72c0ab96fb34c0b5d1");
  CHECK_EQ(hex(md2(bytes("abc"))), "da853b0d3f88d99b30283a69e6ded6bb");
  CHECK_EQ(hex(md2(bytes("message digest"))), "ab4f496bfb2a530b219ff33031fe06b0");
  CHECK_EQ(hex(md2(bytes("abcdefghijklmnopqrstuvwxyz"))), "4e8ddff3650292ab5a4108c3aa47940b");
  CHECK_EQ(hex(md2(bytes("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"))),
           "da33def2a42df13975352846c30338cd");
  CHECK_EQ(hex(md2(bytes("123456789012345678901234567890123456789012345678901234567890123456789012"
                         "34567890"))),
           "d5976f79d83d3a0dc9806c3c66f3efd8");
}

// No vectors are published for HMAC-MD2; this is RFC 2104's definition written out.
TEST(hmac_is_two_nested_digests) {
  const std::string key = "0123456789abcdef", text = "text";
  std::string inner, outer;
  for (const char c : key) {
    inner += static_cast<char>(c ^ 0x36);
    outer += static_cast<char>(c ^ 0x5c);
  }
  const Md2Digest first = md2(bytes(inner + text));
  outer.append(reinterpret_cast<const char*>(first.data()), first.size());
  CHECK(hmac_md2(bytes(key), bytes(text)) == md2(bytes(outer)));
}

TEST(unknown_table_is_refused) {
  CUuuid id{};
  const void* words = &id;
  CHECK_EQ(export_table(&words, &id), CUDA_ERROR_INVALID_VALUE);
  CHECK(words == nullptr);
}

TEST(tables_have_their_sizes) {
  CHECK_EQ(reinterpret_cast<uintptr_t>(table(kRuntime)[0]), 13 * 8u);
  CHECK(reinterpret_cast<uintptr_t>(table(kHooks)[0]) >= 56u);
  CHECK_EQ(reinterpret_cast<uintptr_t>(table(kIntegrity)[0]), 3 * 8u);
  CHECK(table(kStorage)[3] == nullptr);
  CHECK(table(kRuntime) == table(kRuntime));
}

TEST(hook_flags_are_writable_zeros) {
  for (const int index : {2, 6}) {
    void* flags = nullptr;
    size_t count = 0;
    CHECK_EQ(slot<int (*)(void**, size_t*)>(kHooks, index)(&flags, &count), 0);
    CHECK(count >= 1024);
    auto* words = static_cast<volatile uint32_t*>(flags);
    for (size_t i = 0; i < count; ++i) words[i] = words[i] + 0;
    CHECK_EQ(words[count - 1], 0u);
  }
}

TEST(missing_slot_answers_801_and_logs_once) {
  const auto call = slot<int (*)()>(kUnnamed, 4);
  missing_logged = 0;
  CHECK_EQ(call(), 801);
  CHECK_EQ(call(), 801);
  CHECK_EQ(missing_logged, 1);
}

TEST(self_test_answers) {
  const auto ask = slot<int (*)(uint32_t, uint64_t, uint64_t*)>(kIntegrity, 1);
  uint64_t answer[2];
  CHECK_EQ(ask(13000, 1, answer), 0);
  CHECK_EQ(answer[0], 0x3341181C03CB675Cu);
  CHECK_EQ(ask(13001, 1, answer), 0);
  CHECK_EQ(answer[0], 0x1841181C03CB675Cu);

  CHECK_EQ(ask(13002, 99, answer), 0);
  std::string message;
  const auto add = [&](const auto& value) {
    message.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  add(uint32_t{13000});
  add(uint32_t{13002});
  add(static_cast<uint32_t>(getpid()));
  add(static_cast<uint32_t>(pthread_self()));
  add(table(kRuntime));
  add(table(kIntegrity));
  add(table(kIntegrity)[1]);
  add(uint64_t{99});
  for (const DeviceIdentity& device : fake_driver().devices()) {
    add(device.uuid);
    add(device.pci_domain);
    add(device.pci_bus);
    add(device.pci_device);
  }
  const uint8_t key[16] = {0x14, 0x6A, 0xDD, 0xAE, 0x53, 0xA9, 0xA7, 0x52,
                           0xAA, 0x08, 0x41, 0x36, 0x0B, 0xF5, 0x5A, 0x9F};
  const Md2Digest expected = hmac_md2(key, bytes(message));
  CHECK_EQ(std::memcmp(answer, expected.data(), sizeof answer), 0);
}

TEST(storage_misses_before_put_and_after_erase) {
  const auto put = slot<Put>(kStorage, 0);
  const auto erase = slot<Erase>(kStorage, 1);
  const auto get = slot<Get>(kStorage, 2);
  int key = 0, value = 0;
  void* found = nullptr;
  current = nullptr;
  CHECK_EQ(get(&found, nullptr, &key), 201);
  current = as_context(0x10);
  CHECK_EQ(get(&found, nullptr, &key), 400);
  CHECK_EQ(put(nullptr, &key, &value, nullptr), 0);
  CHECK_EQ(get(&found, nullptr, &key), 0);
  CHECK(found == &value);
  CHECK_EQ(get(&found, as_context(0x20), &key), 400);
  std::thread([&] {
    void* other = nullptr;
    CHECK_EQ(get(&other, as_context(0x10), &key), 0);
    CHECK(other == &value);
  }).join();
  CHECK_EQ(erase(as_context(0x10), &key), 0);
  CHECK_EQ(get(&found, nullptr, &key), 400);
  CHECK_EQ(erase(as_context(0x10), &key), 400);
}

TEST(destroyed_context_runs_destructors_once) {
  const auto put = slot<Put>(kStorage, 0);
  const auto get = slot<Get>(kStorage, 2);
  int key = 0, runs = 0;
  CHECK_EQ(put(as_context(0x30), &key, &runs,
               [](CUcontext, void*, void* value) { ++*static_cast<int*>(value); }),
           0);
  context_destroyed(as_context(0x30));
  context_destroyed(as_context(0x30));
  CHECK_EQ(runs, 1);
  void* found = nullptr;
  CHECK_EQ(get(&found, as_context(0x30), &key), 400);
}

TEST(functions_are_visited_and_counted) {
  int seen = 0;
  const auto visit =
      slot<int (*)(CUcontext, CUmodule, void (*)(void*, CUfunction, void*), void*)>(kFunctions, 7);
  CHECK_EQ(visit(
               nullptr, nullptr, [](void* user, CUfunction, void*) { ++*static_cast<int*>(user); },
               &seen),
           2);
  CHECK_EQ(seen, 2);
}
