#include "softgpu/driver/link.h"

#include <cstring>

#include "generated/softgpu_api.h"
#include "softgpu/driver/device_runtime.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/image.h"
#include "softgpu/driver/log.h"

namespace vgpu::softgpu::api {
namespace {

CUresult find_link(CUlinkState handle, std::shared_ptr<LinkState>& link) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  link = driver().links.find(handle);
  return link ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

void report(LinkState& link, const std::string& error) {
  fill_error_log(static_cast<unsigned>(link.options.size()), link.options.data(),
                 link.values.data(), error);
  log(LogLevel::kError, "link: %s", error.c_str());
}

CUresult add(LinkState& link, CUjitInputType type, const void* data, size_t size) {
  if (data == nullptr || size == 0) return CUDA_ERROR_INVALID_VALUE;
  std::string error;
  CUresult result = CUDA_SUCCESS;
  if (type == CU_JIT_INPUT_PTX) {
    const auto* bytes = static_cast<const std::byte*>(data);
    link.texts.emplace_back(bytes, bytes + size);
  } else if (type == CU_JIT_INPUT_FATBINARY || type == CU_JIT_INPUT_CUBIN) {
    result = ptx_of_image(data, link.texts, error);
  } else if (type == CU_JIT_INPUT_LIBRARY || type == CU_JIT_INPUT_OBJECT) {
    const size_t before = link.texts.size();
    result = ptx_of_library({static_cast<const std::byte*>(data), size}, link.texts, error);
    // An object is wanted whole; a library only for what turns out to be missing.
    if (result == CUDA_SUCCESS && type == CU_JIT_INPUT_OBJECT && link.texts.size() == before) {
      error = "the object file holds no PTX";
      result = CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
  } else {
    error = "only PTX, fat binaries, objects and libraries can be linked";
    result = CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  if (result != CUDA_SUCCESS) report(link, error);
  return result;
}

void add_device_runtime(LinkState& link) {
  for (const auto& text : link.texts) {
    const std::string_view view(reinterpret_cast<const char*>(text.data()), text.size());
    if (view.find(kDeviceRuntimeMark) == std::string_view::npos) continue;
    const auto ours = std::as_bytes(std::span(kDeviceRuntime));
    link.texts.emplace_back(ours.begin(), ours.end());
    return;
  }
}

}  // namespace

CUresult cuLinkCreate_v2(unsigned count, CUjit_option* options, void** values, CUlinkState* out) {
  const Current current;
  if (!current) return current.error();
  if (out == nullptr || (count != 0 && (options == nullptr || values == nullptr))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto link = std::make_shared<LinkState>();
  link->options.assign(options, options + count);
  link->values.assign(values, values + count);
  *out = as_handle<CUlinkState>(driver().links.add(link));
  return CUDA_SUCCESS;
}

CUresult cuLinkAddData_v2(CUlinkState handle, CUjitInputType type, void* data, size_t size,
                          const char*, unsigned, CUjit_option*, void**) {
  std::shared_ptr<LinkState> link;
  if (const CUresult result = find_link(handle, link)) return result;
  return add(*link, type, data, size);
}

CUresult cuLinkAddFile_v2(CUlinkState handle, CUjitInputType type, const char* path, unsigned,
                          CUjit_option*, void**) {
  std::shared_ptr<LinkState> link;
  if (const CUresult result = find_link(handle, link)) return result;
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<char> content;
  if (!read_image_file(path, content)) return CUDA_ERROR_FILE_NOT_FOUND;
  return add(*link, type, content.data(), content.size());
}

// The image is the joined text of the inputs: what reads it is this driver's module loader.
CUresult cuLinkComplete(CUlinkState handle, void** image, size_t* size) {
  std::shared_ptr<LinkState> link;
  if (const CUresult result = find_link(handle, link)) return result;
  if (image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (link->texts.empty()) return CUDA_ERROR_INVALID_VALUE;
  add_device_runtime(*link);
  link->image = joined_image(link->texts);
  std::shared_ptr<Code> code;
  std::string error;
  if (const CUresult result = load_code(link->image.data(), code, error)) {
    report(*link, error);
    return result;
  }
  *image = link->image.data();
  if (size != nullptr) *size = link->image.size();
  return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  return driver().links.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace vgpu::softgpu::api
