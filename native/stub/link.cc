// Link jobs: inputs are sent as they are added, the result comes back whole.
#include "generated/stub_api.h"
#include "stub/code.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

// The logs of a link job are written when it is added to or completed; kept with the job's id.
struct LinkOptions {
  std::mutex mutex;  // guards by_id
  std::unordered_map<uint64_t, JitOptions> by_id;
};
LinkOptions& link_options() {
  static LinkOptions* instance = new LinkOptions;
  return *instance;
}

void take_link_logs(Call& call, uint64_t id, CUresult result, const char* what) {
  const std::lock_guard lock(link_options().mutex);
  const auto found = link_options().by_id.find(id);
  if (found != link_options().by_id.end()) found->second.take_logs(call, result, what);
}

}  // namespace

CUresult cuLinkCreate_v2(unsigned int numOptions, CUjit_option* options, void** optionValues,
                         CUlinkState* stateOut) {
  Call call(Opcode::cuLinkCreate_v2);
  if (!call.ok()) return call.result();
  if (stateOut == nullptr) return CUDA_ERROR_INVALID_VALUE;
  JitOptions jit;
  CUresult result = jit.read(numOptions, options, optionValues);
  if (result != CUDA_SUCCESS) return result;
  const uint64_t id = call.create(HandleKind::kLink);
  call.put(id);
  jit.put_counts(call);
  jit.put_values(call);
  result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  const std::lock_guard lock(link_options().mutex);
  link_options().by_id[id] = jit;
  *stateOut = as_handle<CUlinkState>(id);
  return CUDA_SUCCESS;
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void* data, size_t size,
                          const char* name, unsigned int numOptions, CUjit_option* options,
                          void** optionValues) {
  Call call(Opcode::cuLinkAddData_v2);
  if (!call.ok()) return call.result();
  if (data == nullptr || size == 0) return CUDA_ERROR_INVALID_VALUE;
  JitOptions jit;
  CUresult result = jit.read(numOptions, options, optionValues);
  if (result != CUDA_SUCCESS) return result;
  const uint64_t id = call.handle(HandleKind::kLink, state);
  if (!call.ok()) return call.result();
  const bool inline_bytes = size <= wire::kMaxInline;
  if (!inline_bytes) {
    call.has_bulk();
    call.put(process()->link()->send_bulk(data, size));
  }
  call.put(id);
  call.put(static_cast<uint32_t>(type));
  call.text(name);
  call.put(static_cast<uint64_t>(size));
  call.put(jit.count());
  jit.put_values(call);
  if (inline_bytes) call.tail(data, size);
  result = call.wait();
  take_link_logs(call, id, result, "cuLinkAddData");
  return result;
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char* path,
                          unsigned int numOptions, CUjit_option* options, void** optionValues) {
  std::vector<char> bytes;
  if (const CUresult result = load_file(path, bytes); result != CUDA_SUCCESS) return result;
  // PTX counts its terminating zero, other inputs have none.
  const size_t size = type == CU_JIT_INPUT_PTX ? bytes.size() : bytes.size() - 1;
  return api::cuLinkAddData_v2(state, type, bytes.data(), size, path, numOptions, options,
                               optionValues);
}

CUresult cuLinkComplete(CUlinkState state, void** cubinOut, size_t* sizeOut) {
  Call call(Opcode::cuLinkComplete);
  if (!call.ok()) return call.result();
  if (cubinOut == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const uint64_t id = call.handle(HandleKind::kLink, state);
  call.put(id);
  const CUresult result = call.wait();
  const auto size = call.get<uint64_t>();
  take_link_logs(call, id, result, "cuLinkComplete");
  if (result != CUDA_SUCCESS) return result;
  const auto bytes = call.reply().take(size);
  if (!call.reply().ok()) return CUDA_ERROR_UNKNOWN;
  Link* link = process()->links.find(id);
  if (link == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  // The program owns the bytes until it destroys the job; PTX must end in a zero.
  link->image.assign(bytes.begin(), bytes.end());
  link->image.push_back(std::byte{0});
  *cubinOut = link->image.data();
  if (sizeOut != nullptr) *sizeOut = size;
  return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState state) {
  Call call(Opcode::cuLinkDestroy);
  if (!call.ok()) return call.result();
  if (Link* link = process()->links.find(state)) link->image.clear();
  {
    const std::lock_guard lock(link_options().mutex);
    link_options().by_id.erase(as_id(state));
  }
  call.put(call.destroy(HandleKind::kLink, state));
  return call.finish();
}

}  // namespace vgpu::stub::api
