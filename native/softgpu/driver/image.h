// From an image as the API receives it to code.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "softgpu/driver/module.h"

namespace vgpu::softgpu {

// The text in `bytes`: up to a zero, or all.
std::string_view text_of(std::span<const std::byte> bytes);

// The whole file, with a terminating zero (PTX text is measured by it).
bool read_image_file(const char* path, std::vector<char>& content);

// One image that stands for several PTX texts to be linked: a single text as it is, several with a
// marker line before each. load_code() takes it apart again; a text of one input stays plain PTX.
std::string joined_image(std::span<const std::string_view> texts);
// The texts of such an image, or the text itself.
std::vector<std::string_view> separate_texts(std::string_view image);

}  // namespace vgpu::softgpu
