#include "softgpu/driver/image.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>

#include "image/image.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/log.h"

namespace vgpu::softgpu {
namespace {

using Bytes = std::vector<std::byte>;

// An image is chosen once for all contexts: what the oldest device can take.
int capability() {
  int lowest = INT32_MAX;
  for (const auto& device : driver().devices) {
    lowest = std::min(lowest, device->major * 10 + device->minor);
  }
  return lowest;
}

// What was chosen from an image: PTX texts, or SASS of which only the names are used.
struct Chosen {
  std::vector<Bytes> texts;
  std::vector<Bytes> elves;
};

std::string kernels_in(std::span<const std::byte> elf) {
  std::string error, names;
  const auto directory = image::elf_directory(elf, error);
  if (!directory) return "unreadable: " + error;
  size_t listed = 0;
  for (const auto& kernel : directory->kernels) {
    if (++listed > 8) return names + ", ...";
    names += (names.empty() ? "" : ", ") + kernel.name;
  }
  return names;
}

CUresult choose_entry(std::span<const std::byte> fatbin, Chosen& chosen, std::string& error) {
  const auto entries = image::entries(fatbin, error);
  if (!entries) return CUDA_ERROR_INVALID_IMAGE;
  const bool skip = driver().config.skip_sass;
  const image::Entry* entry = image::choose(
      *entries, capability(), skip ? image::Preference::kAnyElf : image::Preference::kPtxOnly);
  if (entry == nullptr) {
    error = "the fat binary holds no PTX";
    for (const auto& one : *entries) {
      if (one.kind != image::EntryKind::kElf) continue;
      std::string ignored;
      if (const auto elf = image::content(one, ignored)) {
        error += "; its sm_" + std::to_string(one.architecture) + " code has " + kernels_in(*elf);
        break;
      }
    }
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  auto content = image::content(*entry, error);
  if (!content) return CUDA_ERROR_INVALID_IMAGE;
  auto& list = entry->kind == image::EntryKind::kPtx ? chosen.texts : chosen.elves;
  list.push_back(std::move(*content));
  return CUDA_SUCCESS;
}

CUresult choose_image(const void* pointer, Chosen& chosen, std::string& error) {
  const image::Image found = image::identify(pointer);
  switch (found.kind) {
    case image::Kind::kPtx:
      chosen.texts.emplace_back(found.bytes.begin(), found.bytes.end());
      return CUDA_SUCCESS;
    case image::Kind::kElf:
      if (driver().config.skip_sass) {
        chosen.elves.emplace_back(found.bytes.begin(), found.bytes.end());
        return CUDA_SUCCESS;
      }
      error = "the image is SASS only; its kernels: " + kernels_in(found.bytes);
      return CUDA_ERROR_NO_BINARY_FOR_GPU;
    case image::Kind::kFatbin:
    case image::Kind::kWrapper: {
      if (const CUresult result = choose_entry(found.bytes, chosen, error)) return result;
      for (const auto& further : found.prelinked) {
        if (const CUresult result = choose_entry(further, chosen, error)) return result;
      }
      return CUDA_SUCCESS;
    }
    default:
      error = "the image is neither PTX text nor ELF nor a fat binary";
      return CUDA_ERROR_INVALID_IMAGE;
  }
}

// Names and layouts only: nothing of such code is ever executed.
void add_directory(const image::Directory& directory, Code& code) {
  for (const auto& info : directory.kernels) {
    ptx::Kernel kernel;
    kernel.name = info.name;
    kernel.parameter_bytes = info.parameter_bytes;
    for (const auto& parameter : info.parameters) {
      kernel.parameters.push_back({parameter.offset, parameter.size, 1});
    }
    kernel.registers = 32;
    kernel.target = capability();
    code.kernels.push_back(std::move(kernel));
  }
  for (const auto& info : directory.globals) {
    ptx::Variable variable;
    variable.name = info.name;
    variable.size = info.size;
    code.variables.push_back(std::move(variable));
  }
}

CUresult code_of_names(const Chosen& chosen, std::shared_ptr<Code>& out, std::string& error) {
  auto code = std::make_shared<Code>();
  for (const Bytes& elf : chosen.elves) {
    const auto directory = image::elf_directory(elf, error);
    if (!directory) return CUDA_ERROR_INVALID_IMAGE;
    add_directory(*directory, *code);
  }
  for (const Bytes& text : chosen.texts) {
    const auto directory = image::ptx_directory(text_of(text), error);
    if (!directory) return CUDA_ERROR_INVALID_PTX;
    add_directory(*directory, *code);
  }
  code->index();
  out = std::move(code);
  return CUDA_SUCCESS;
}

}  // namespace

std::string_view text_of(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.substr(0, text.find('\0'));
}

CUresult linked_code(std::span<const std::string_view> texts, size_t own,
                     std::shared_ptr<Code>& out, std::string& log) {
  if (const CUresult result = code_of_texts(texts, out, log)) return result;
  const auto missing = out->module->undefined(own);
  for (const std::string& name : missing)
    log += "error   : Undefined reference to '" + name + "'\n";
  return missing.empty() ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

CUresult code_of_texts(std::span<const std::string_view> texts, std::shared_ptr<Code>& out,
                       std::string& log) {
  auto code = std::make_shared<Code>();
  code->module =
      texts.size() == 1 ? ptx::Module::load(texts[0], log) : ptx::Module::link(texts, log);
  if (!code->module) return CUDA_ERROR_INVALID_PTX;
  const auto kernels = code->module->kernels();
  const auto variables = code->module->variables();
  code->kernels.assign(kernels.begin(), kernels.end());
  code->variables.assign(variables.begin(), variables.end());
  code->index();
  out = std::move(code);
  return CUDA_SUCCESS;
}

CUresult load_code(const void* pointer, std::shared_ptr<Code>& out, std::string& error) {
  Chosen chosen;
  CUresult result = choose_image(pointer, chosen, error);
  if (result == CUDA_SUCCESS && driver().config.skip_sass) {
    result = code_of_names(chosen, out, error);
  } else if (result == CUDA_SUCCESS) {
    std::vector<std::string_view> texts;
    for (const Bytes& text : chosen.texts) {
      const auto parts = separate_texts(text_of(text));
      texts.insert(texts.end(), parts.begin(), parts.end());
    }
    result = code_of_texts(texts, out, error);
  }
  if (result != CUDA_SUCCESS) {
    log(LogLevel::kError, "code image refused: %s", error.c_str());
  } else if (log_enabled(LogLevel::kDebug)) {
    log(LogLevel::kDebug, "code image: %zu kernels, %zu variables, first %s", out->kernels.size(),
        out->variables.size(), out->kernels.empty() ? "-" : out->kernels[0].name.c_str());
  }
  return result;
}

CUresult ptx_of_image(const void* pointer, std::vector<Bytes>& texts, std::string& error) {
  Chosen chosen;
  if (const CUresult result = choose_image(pointer, chosen, error)) return result;
  if (chosen.texts.empty()) {
    error = "the image holds no PTX";
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  std::move(chosen.texts.begin(), chosen.texts.end(), std::back_inserter(texts));
  return CUDA_SUCCESS;
}

CUresult ptx_of_library(std::span<const std::byte> file, std::vector<Bytes>& texts,
                        std::string& error) {
  const auto fatbins = image::library_fatbins(file, error);
  if (!fatbins) return CUDA_ERROR_INVALID_IMAGE;
  for (const auto& fatbin : *fatbins) {
    const CUresult result = ptx_of_image(fatbin.data(), texts, error);
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU) {
      // What needs its functions is named when the link is completed, or its kernel is looked up.
      log(LogLevel::kInfo, "link: a part of a library is left out: %s", error.c_str());
    } else if (result != CUDA_SUCCESS) {
      return result;
    }
  }
  return CUDA_SUCCESS;
}

namespace {
constexpr std::string_view kJoint = "\n// vgpu softgpu: next linked input\n";
}

std::string joined_image(std::span<const std::string_view> texts) {
  std::string image;
  for (const std::string_view text : texts) {
    if (!image.empty()) image += kJoint;
    image += text;
  }
  return image;
}

std::vector<std::string_view> separate_texts(std::string_view image) {
  std::vector<std::string_view> texts;
  size_t at = 0;
  for (size_t joint = 0; (joint = image.find(kJoint, at)) != std::string_view::npos;
       at = joint + kJoint.size()) {
    texts.push_back(image.substr(at, joint - at));
  }
  texts.push_back(image.substr(at));
  return texts;
}

bool read_image_file(const char* path, std::vector<char>& content) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  content.assign(std::istreambuf_iterator<char>(file), {});
  content.push_back('\0');
  return true;
}

}  // namespace vgpu::softgpu
