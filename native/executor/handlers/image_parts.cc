#include "executor/handlers/image_parts.h"

#include <cstring>

#include "image/image.h"

namespace vgpu::executor::handlers {
namespace {

constexpr uint32_t kMostParts = 1024;
constexpr uint64_t kMostBytes = uint64_t{4} << 30;

}  // namespace

bool ImageParts::read(Session& session, wire::Reader& in, uint64_t transfer) {
  const auto head = in.get<wire::LoadImage>();
  if (!in.ok() || head.parts == 0 || head.parts > kMostParts) return false;
  std::vector<uint64_t> sizes(head.parts);
  uint64_t total = 0;
  for (uint64_t& size : sizes) {
    size = in.get<uint64_t>();
    if (size == 0 || size > kMostBytes) return false;
    total += size;
  }
  options_.read(in, head.options);
  if (!in.ok() || total > kMostBytes) return false;
  if (head.log_verbose != 0) options_.be_verbose();
  options_.add_logs(head.info_bytes, head.error_bytes);
  if (transfer == 0) {
    const auto bytes = in.take(total);
    return in.ok() && arrange(head.kind, sizes, bytes);
  }
  const auto buffer = session.take_bulk(transfer);
  Session::failed();
  return buffer != nullptr && buffer->size == total &&
         arrange(head.kind, sizes, {buffer->data, buffer->size});
}

// Copies the parts to aligned places and makes the pointer that the driver wants.
bool ImageParts::arrange(uint32_t kind, const std::vector<uint64_t>& sizes,
                         std::span<const std::byte> bytes) {
  uint64_t words = 0;
  for (const uint64_t size : sizes) words += (size + 7) / 8;
  aligned_.assign(words + 1, 0);  // at least 8 zero bytes at the end: PTX is text
  std::vector<const void*> parts;
  uint64_t from = 0;
  uint64_t to = 0;
  for (const uint64_t size : sizes) {
    std::memcpy(aligned_.data() + to, bytes.data() + from, size);
    parts.push_back(aligned_.data() + to);
    from += size;
    to += (size + 7) / 8;
  }
  image_ = parts.front();
  std::string error;
  switch (static_cast<image::Kind>(kind)) {
    case image::Kind::kPtx:
      return sizes.size() == 1;
    case image::Kind::kElf:
      // The driver trusts the lengths in the headers: they must not lead beyond the bytes.
      return sizes.size() == 1 && image::identify(bytes, error).has_value();
    case image::Kind::kFatbin:
      break;
    default:
      return false;
  }
  from = 0;
  for (const uint64_t size : sizes) {
    if (!image::entries(bytes.subspan(from, size), error)) return false;
    from += size;
  }
  if (sizes.size() == 1) return true;
  prelinked_.assign(parts.begin() + 1, parts.end());
  prelinked_.push_back(nullptr);
  wrapper_.version = 2;
  wrapper_.data = parts.front();
  wrapper_.extra = prelinked_.data();
  image_ = &wrapper_;
  return true;
}

}  // namespace vgpu::executor::handlers
