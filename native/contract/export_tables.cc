// The nine tables of cuGetExportTable and the slots that libraries really call. Layouts: an array
// of pointers whose word 0 is the size in bytes, except the context storage, which starts with a
// function.
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

#include "contract/context_storage.h"
#include "contract/contract.h"
#include "contract/self_test.h"

namespace vgpu::contract {
namespace {

Driver driver{};

enum class Table : int {
  kRuntimeInterface,
  kToolHooks,
  kToolsTls,
  kContextStorage,
  kContextChecks,
  kIntegrityCheck,
  kContextIdentity,
  kModuleFunctions,
  kUnnamed1734,
  kCount,
};

template <size_t N>
using Words = std::array<const void*, N>;

// Addresses must not change: the self-test hashes two of them.
Words<13> runtime_interface;
Words<7> tool_hooks;
Words<4> tools_tls;
Words<4> context_storage;
Words<4> context_checks;
Words<3> integrity_check;
Words<93> context_identity;
Words<16> module_functions;
Words<16> unnamed_1734;

// A slot that nothing is known to need. One function per slot, so that the log can name it.
template <Table table, size_t slot>
CUresult missing();

// --- 6bd5fb6c: the runtime's own interface ---

CUresult primary_context(CUcontext* context, CUdevice device) {
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return driver.primary_context(context, device);
}
CUresult load_module(CUmodule* module, const void* wrapper) {
  return driver.module_load(module, wrapper);
}
CUresult load_module_of_header(const void* header, CUmodule* module) {
  return driver.module_load(module, header);
}
CUresult unload_module(CUmodule module) { return driver.module_unload(module); }
CUresult preload_compilers() { return CUDA_SUCCESS; }  // any error here becomes that of every call

// --- a094798c: which runtime calls a tool subscribed to; none ---

// At least as many flags as the largest runtime known asks for (1024); 4096 were verified to pass.
constexpr size_t kHookFlags = 4096;
std::array<uint32_t, kHookFlags> call_hooks;
std::array<uint32_t, kHookFlags> domain_hooks;

CUresult hook_flags(void** flags, size_t* count) {
  *flags = call_hooks.data();
  *count = kHookFlags;
  return CUDA_SUCCESS;
}
CUresult domain_flags(void** flags, size_t* count) {
  *flags = domain_hooks.data();
  *count = kHookFlags;
  return CUDA_SUCCESS;
}

// --- 42d85a81: called by cuBLASLt on every product ---

CUresult current_context(CUcontext* context) {
  *context = driver.current_context();
  return CUDA_SUCCESS;
}

// --- c693336e: context storage; a null context is the calling thread's ---

CUresult put(CUcontext context, void* key, void* value, StorageDestructor destructor) {
  if (context == nullptr) context = driver.current_context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  storage_put(context, key, value, destructor);
  return CUDA_SUCCESS;
}
CUresult erase(CUcontext context, void* key) {
  if (context == nullptr) context = driver.current_context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  return storage_erase(context, key) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult get(void** value, CUcontext context, void* key) {
  if (context == nullptr) context = driver.current_context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  // Success without a value would make the runtime use what it never stored.
  return storage_get(value, context, key) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// --- 263e8860 ---

CUresult check_context(CUcontext, uint32_t* state, void**) {
  if (state != nullptr) *state = 0;
  return CUDA_SUCCESS;
}
uint32_t check_process() { return 0; }

// --- d4082055 ---

CUresult self_test(uint32_t id, uint64_t unix_seconds, uint64_t* answer) {
  const auto words = self_test_answer(id, unix_seconds, driver,
                                      {&runtime_interface, &integrity_check, integrity_check[1]});
  std::memcpy(answer, words.data(), sizeof(words));
  return CUDA_SUCCESS;
}

// --- 21318c60 ---

CUresult context_device(CUcontext context, CUdevice* device) {
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return driver.context_device(context, device);
}
CUresult context_id(CUcontext context, uint64_t* id) {
  if (context == nullptr) context = driver.current_context();
  return driver.context_id(context, id);
}
char stream_object;  // only its address is used, by nobody but us
CUresult stream_identity(CUcontext, CUstream stream, void** object) {
  if (stream == reinterpret_cast<CUstream>(~uintptr_t{0})) return CUDA_ERROR_INVALID_HANDLE;
  *object = &stream_object;
  return CUDA_SUCCESS;
}
CUresult stream_identity_value(CUcontext, void*, uint64_t* value) {
  *value = 0;
  return CUDA_SUCCESS;
}

// --- 6e163fbe ---

struct Visit {
  void (*callback)(void* user, CUfunction function, void* extra);
  void* user;
  CUmodule module;
  int count = 0;
};
int visit_functions(CUcontext, CUmodule module, void (*callback)(void*, CUfunction, void*),
                    void* user) {
  Visit visit{callback, user, module};
  const CUresult result = driver.visit_functions(
      module,
      [](void* state, CUfunction function) {
        auto* self = static_cast<Visit*>(state);
        self->callback(self->user, function, self->module);
        ++self->count;
      },
      &visit);
  return result == CUDA_SUCCESS ? visit.count : 0;
}

struct Entry {
  std::array<unsigned char, 16> id;
  const char* name;
  const void* words;
};
// In the order of Table.
const std::array<Entry, static_cast<size_t>(Table::kCount)> kTables = {{
    {{0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d,
      0xf9},
     "6bd5fb6c",
     &runtime_interface},
    {{0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74, 0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a,
      0x66},
     "a094798c",
     &tool_hooks},
    {{0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47, 0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec,
      0xdc},
     "42d85a81",
     &tools_tls},
    {{0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11, 0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95,
      0x93},
     "c693336e",
     &context_storage},
    {{0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43, 0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d, 0xfa,
      0x7e},
     "263e8860",
     &context_checks},
    {{0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b, 0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1,
      0xf2},
     "d4082055",
     &integrity_check},
    {{0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48, 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8,
      0xf2},
     "21318c60",
     &context_identity},
    {{0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d, 0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99,
      0x1e},
     "6e163fbe",
     &module_functions},
    {{0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45, 0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd, 0x8b,
      0xca},
     "1734dc26",
     &unnamed_1734},
}};

template <Table table, size_t slot>
CUresult missing() {
  static std::atomic<bool> logged{false};
  if (!logged.exchange(true) && driver.log_missing_slot != nullptr) {
    driver.log_missing_slot(kTables[static_cast<size_t>(table)].name, static_cast<int>(slot));
  }
  return CUDA_ERROR_NOT_SUPPORTED;
}

template <typename R, typename... A>
const void* address(R (*function)(A...)) {
  return reinterpret_cast<const void*>(function);
}

template <Table table, size_t N>
void fill(Words<N>& words) {
  [&]<size_t... I>(std::index_sequence<I...>) {
    ((words[I] = address(&missing<table, I>)), ...);
  }(std::make_index_sequence<N>{});
  words[0] = reinterpret_cast<const void*>(sizeof(words));
}

void build() {
  fill<Table::kRuntimeInterface>(runtime_interface);
  runtime_interface[1] = address(load_module);
  runtime_interface[2] = address(primary_context);
  runtime_interface[6] = address(load_module);
  runtime_interface[7] = address(unload_module);
  runtime_interface[8] = address(load_module_of_header);
  runtime_interface[12] = address(preload_compilers);

  fill<Table::kToolHooks>(tool_hooks);
  tool_hooks[2] = address(hook_flags);
  tool_hooks[6] = address(domain_flags);

  fill<Table::kToolsTls>(tools_tls);
  tools_tls[2] = address(current_context);

  context_storage = {address(put), address(erase), address(get), nullptr};

  fill<Table::kContextChecks>(context_checks);
  context_checks[2] = address(check_context);
  context_checks[3] = address(check_process);

  fill<Table::kIntegrityCheck>(integrity_check);
  integrity_check[1] = address(self_test);

  fill<Table::kContextIdentity>(context_identity);
  context_identity[3] = address(context_device);
  context_identity[4] = address(context_id);
  context_identity[39] = address(stream_identity_value);
  context_identity[51] = address(stream_identity);

  fill<Table::kModuleFunctions>(module_functions);
  module_functions[7] = address(visit_functions);

  fill<Table::kUnnamed1734>(unnamed_1734);
}

std::once_flag built;

}  // namespace

void install(const Driver& functions) { driver = functions; }

CUresult export_table(const void** table, const CUuuid* id) {
  if (table == nullptr || id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *table = nullptr;
  std::call_once(built, build);
  for (const Entry& entry : kTables) {
    if (std::memcmp(entry.id.data(), id->bytes, entry.id.size()) == 0) {
      *table = entry.words;
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_INVALID_VALUE;
}

void context_destroyed(CUcontext context) { storage_drop(context); }

}  // namespace vgpu::contract
