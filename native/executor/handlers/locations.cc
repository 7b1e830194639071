#include "executor/handlers/support.h"

namespace vgpu::executor::handlers {

bool map_location(Session& session, uint32_t type, int32_t ordinal, CUmemLocation& location) {
  if (type != CU_MEM_LOCATION_TYPE_DEVICE || ordinal < 0) return false;
  location = {};
  location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  location.id = session.device(static_cast<uint32_t>(ordinal));
  return true;
}

int32_t worker_ordinal(Session& session, int device) {
  for (uint32_t ordinal = 0; ordinal < session.contexts().device_count(); ++ordinal) {
    if (session.device(ordinal) == device) return static_cast<int32_t>(ordinal);
  }
  return -1;
}

bool read_access(Session& session, wire::Reader& in, std::vector<CUmemAccessDesc>& access) {
  constexpr uint32_t kMost = 256;
  const auto count = in.get<uint32_t>();
  if (!in.ok() || count > kMost) return false;
  for (uint32_t i = 0; i < count; ++i) {
    const auto type = in.get<uint32_t>();
    const auto ordinal = in.get<int32_t>();
    CUmemAccessDesc one{};
    one.flags = static_cast<CUmemAccess_flags>(in.get<uint32_t>());
    if (!in.ok() || !map_location(session, type, ordinal, one.location)) return false;
    access.push_back(one);
  }
  return true;
}

}  // namespace vgpu::executor::handlers
