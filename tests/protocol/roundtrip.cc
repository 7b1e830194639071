// Generated stub bodies and generated handlers, back to back: what goes in is what the driver gets,
// what it answers comes back, and no payload that a peer can send makes a handler read out of
// bounds.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "executor/session.h"
#include "generated/executor_api.h"
#include "generated/stub_api.h"
#include "stub/call.h"

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (false)

namespace vgpu::executor::handlers {
CUresult cuEventRecord(Session&, const Command&, wire::Reader&, wire::Writer&) {
  return CUDA_SUCCESS;
}
CUresult cuLaunchKernelEx(Session&, const Command&, wire::Reader&, wire::Writer&) {
  return CUDA_SUCCESS;
}
}  // namespace vgpu::executor::handlers

namespace {

using namespace vgpu;

int calls = 0;
CUresult answer = CUDA_SUCCESS;

CUresult create(CUevent* event, unsigned int flags) {
  ++calls;
  CHECK(flags == 5);
  *event = reinterpret_cast<CUevent>(0x1234);
  return answer;
}
CUresult destroy(CUevent event) {
  ++calls;
  CHECK(event == reinterpret_cast<CUevent>(wire::make_handle(wire::HandleKind::kEvent, 77) + 1));
  return answer;
}
CUresult elapsed(float* milliseconds, CUevent start, CUevent end) {
  ++calls;
  CHECK(start == reinterpret_cast<CUevent>(11) && end == reinterpret_cast<CUevent>(21));
  *milliseconds = 1.5f;
  return answer;
}

// Touches every byte that the signature promises.
bool strict = true;
CUresult table(size_t* total, const char* label, const unsigned int* values,
               const CUgraphNode* nodes, size_t count, CUdeviceptr address,
               CUstreamCaptureMode mode, CUdevice device, CUmemGenericAllocationHandle allocation) {
  ++calls;
  size_t sum = std::strlen(label);
  for (size_t i = 0; i < count; ++i) sum += values[i] + reinterpret_cast<size_t>(nodes[i]);
  if (strict) {
    CHECK(std::string(label) == "a name" && count == 3);
    CHECK(values[0] == 7 && values[2] == 9 && nodes[1] == reinterpret_cast<CUgraphNode>(201));
    CHECK(address == 0x700000000000 && mode == CU_STREAM_CAPTURE_MODE_RELAXED);
    CHECK(device == 3 && allocation == 42);
  }
  *total = sum;
  return answer;
}

const unsigned int kValues[] = {7, 8, 9};
const CUgraphNode kNodes[] = {reinterpret_cast<CUgraphNode>(100),
                              reinterpret_cast<CUgraphNode>(200),
                              reinterpret_cast<CUgraphNode>(300)};
constexpr size_t kTotal = 6 + 24 + 603;

CUresult call_table(size_t* total, const char* label = "a name",
                    const unsigned int* values = kValues, size_t count = 3) {
  return stub::api::cuEventTable(total, label, values, kNodes, count, 0x700000000000,
                                 CU_STREAM_CAPTURE_MODE_RELAXED, 3, 41);
}

void round_trips() {
  const uint64_t id = wire::make_handle(wire::HandleKind::kEvent, 77);
  CUevent event{};
  CHECK(stub::api::cuEventCreate(&event, 5) == CUDA_SUCCESS);
  CHECK(event == reinterpret_cast<CUevent>(id) && executor::bound[id] == 0x1234);
  CHECK(stub::api::cuEventDestroy_v2(event) == CUDA_SUCCESS && executor::bound.empty());
  float milliseconds = 0;
  CHECK(stub::api::cuEventElapsedTime(&milliseconds, reinterpret_cast<CUevent>(10),
                                      reinterpret_cast<CUevent>(20)) == CUDA_SUCCESS);
  CHECK(milliseconds == 1.5f);
  size_t total = 0;
  CHECK(call_table(&total) == CUDA_SUCCESS && total == kTotal);
  CHECK(call_table(nullptr) == CUDA_SUCCESS);
  CHECK(calls == 5);
}

void failures_change_nothing() {
  answer = CUDA_ERROR_OUT_OF_MEMORY;
  CUevent event = nullptr;
  CHECK(stub::api::cuEventCreate(&event, 5) == CUDA_ERROR_OUT_OF_MEMORY);
  CHECK(event == nullptr && executor::bound.empty());
  size_t total = 1;
  CHECK(call_table(&total) == CUDA_ERROR_OUT_OF_MEMORY && total == 1);
  answer = CUDA_SUCCESS;
}

void bad_arguments_never_travel() {
  calls = 0;
  CHECK(stub::api::cuEventCreate(nullptr, 5) == CUDA_ERROR_INVALID_VALUE);
  CHECK(stub::api::cuEventDestroy_v2(nullptr) == CUDA_ERROR_INVALID_HANDLE);
  size_t total = 0;
  CHECK(call_table(&total, nullptr) == CUDA_ERROR_INVALID_VALUE);
  CHECK(call_table(&total, "a name", nullptr) == CUDA_ERROR_INVALID_VALUE);
  CHECK(calls == 0);
}

CUresult execute(Opcode opcode, std::span<const std::byte> payload) {
  executor::Session session;
  wire::Reader in(payload);
  wire::Writer out;
  return executor::find_handler(opcode)(session, {}, in, out);
}

void truncated_and_mutated_payloads() {
  size_t total = 0;
  CHECK(call_table(&total) == CUDA_SUCCESS);
  const std::vector<std::byte> whole = stub::last_payload;
  calls = 0;
  for (size_t size = 0; size < whole.size(); ++size) {
    // On the heap and exactly as long as it is, for the address sanitizer.
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    CHECK(execute(Opcode::cuEventTable, cut) == CUDA_ERROR_INVALID_VALUE);
  }
  CHECK(calls == 0);
  strict = false;
  std::mt19937 random(20251123);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> changed = whole;
    for (int edits = 1 + static_cast<int>(random() % 4); edits > 0; --edits) {
      changed[random() % changed.size()] = static_cast<std::byte>(random());
    }
    (void)execute(Opcode::cuEventTable, changed);
  }
  strict = true;
}

void what_the_driver_lacks_is_not_supported() {
  executor::driver_table.cuEventTable = nullptr;
  size_t total = 0;
  CHECK(call_table(&total) == CUDA_ERROR_NOT_SUPPORTED);
  CHECK(executor::find_handler(static_cast<Opcode>(0x7777)) == nullptr);
  CHECK(executor::find_handler(Opcode::cuMemcpyHtoD_v2) == nullptr);
  CHECK(call_info(static_cast<Opcode>(0x7777)) == nullptr);
  CHECK(std::string(call_name(Opcode::cuEventTable)) == "cuEventTable");
  CHECK(call_info(Opcode::cuEventDestroy)->call_class == CallClass::kAsync);
  CHECK(call_info(Opcode::cuEventCreate)->needs_context);
  CHECK(!call_info(Opcode::cuEventDestroy_v2)->needs_context);
}

}  // namespace

int main() {
  executor::driver_table.cuEventCreate = create;
  executor::driver_table.cuEventDestroy_v2 = destroy;
  executor::driver_table.cuEventElapsedTime = elapsed;
  executor::driver_table.cuEventTable = table;
  round_trips();
  failures_change_nothing();
  bad_arguments_never_travel();
  truncated_and_mutated_payloads();
  what_the_driver_lacks_is_not_supported();
}
