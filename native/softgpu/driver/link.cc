#include "softgpu/driver/link.h"

#include <cstring>
#include <string_view>

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

CUresult refuse(LinkState& link, CUresult result, const std::string& error) {
  link.failed = true;
  link.log.error(error);
  log(LogLevel::kError, "link: %s", error.c_str());
  return result;
}

// Those of libraries last: what they lack is no error while nothing of the program needs it.
std::vector<std::string_view> all_texts(const LinkState& link) {
  std::vector<std::string_view> texts;
  for (const auto& text : link.texts) texts.push_back(text_of(text));
  for (const auto& text : link.library_texts) texts.push_back(text_of(text));
  return texts;
}

// The inputs so far and the new ones must at least agree on who defines what.
CUresult check_inputs(LinkState& link) {
  const std::vector<std::string_view> texts = all_texts(link);
  if (texts.empty()) return CUDA_SUCCESS;
  std::string error;
  if (ptx::Module::link(texts, error)) return CUDA_SUCCESS;
  const bool twice = error.find("Multiple definition") != std::string::npos;
  return refuse(link, twice ? CUDA_ERROR_INVALID_SOURCE : CUDA_ERROR_INVALID_PTX, error);
}

CUresult add(LinkState& link, CUjitInputType type, const void* data, size_t size) {
  if (data == nullptr || size == 0) return CUDA_ERROR_INVALID_VALUE;
  std::string error;
  if (type == CU_JIT_INPUT_PTX) {
    const auto* bytes = static_cast<const std::byte*>(data);
    link.texts.emplace_back(bytes, bytes + size);
  } else if (type == CU_JIT_INPUT_FATBINARY || type == CU_JIT_INPUT_CUBIN) {
    if (const CUresult result = ptx_of_image(data, link.texts, error)) {
      return refuse(link, result, error);
    }
  } else if (type == CU_JIT_INPUT_LIBRARY || type == CU_JIT_INPUT_OBJECT) {
    // An object is wanted whole; a library only for what turns out to be missing.
    auto& texts = type == CU_JIT_INPUT_OBJECT ? link.texts : link.library_texts;
    const size_t before = texts.size();
    const std::span bytes(static_cast<const std::byte*>(data), size);
    if (const CUresult result = ptx_of_library(bytes, texts, error)) {
      return refuse(link, result, error);
    }
    if (type == CU_JIT_INPUT_OBJECT && texts.size() == before) {
      return refuse(link, CUDA_ERROR_NO_BINARY_FOR_GPU, "the object file holds no PTX");
    }
  } else {
    return refuse(link, CUDA_ERROR_NO_BINARY_FOR_GPU,
                  "only PTX, fat binaries, objects and libraries can be linked");
  }
  return check_inputs(link);
}

void add_device_runtime(LinkState& link) {
  for (const std::string_view text : all_texts(link)) {
    if (text.find(kDeviceRuntimeMark) == std::string_view::npos) continue;
    const auto ours = std::as_bytes(std::span(kDeviceRuntime));
    link.library_texts.emplace_back(ours.begin(), ours.end());
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
  link->log = JitLog(count, options, values);
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
  if (!read_image_file(path, content)) {
    return refuse(*link, CUDA_ERROR_FILE_NOT_FOUND, std::string("cannot read ") + path);
  }
  return add(*link, type, content.data(), content.size());
}

// The image is the joined text of the inputs: what reads it is this driver's module loader.
CUresult cuLinkComplete(CUlinkState handle, void** image, size_t* size) {
  std::shared_ptr<LinkState> link;
  if (const CUresult result = find_link(handle, link)) return result;
  if (image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (link->texts.empty() && link->library_texts.empty()) return CUDA_ERROR_INVALID_VALUE;
  if (link->failed) return CUDA_ERROR_UNKNOWN;  // an input was refused, with its reason
  add_device_runtime(*link);
  link->image = joined_image(all_texts(*link));
  std::shared_ptr<Code> code;
  std::string error;
  if (const CUresult result =
          linked_code(separate_texts(link->image), link->texts.size(), code, error)) {
    return refuse(*link, result, error);
  }
  link->log.describe(*code);
  *image = link->image.data();
  if (size != nullptr) *size = link->image.size();
  return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  return driver().links.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace vgpu::softgpu::api
