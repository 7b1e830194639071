// What two devices are to each other.
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

CUresult cuDeviceCanAccessPeer(Session& session, const Command&, wire::Reader& in,
                               wire::Writer& out) {
  const CUdevice device = session.device(in.get<uint32_t>());
  const CUdevice peer = session.device(in.get<uint32_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  if (session.driver().cuDeviceCanAccessPeer == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  int can = 0;
  const CUresult result = session.driver().cuDeviceCanAccessPeer(&can, device, peer);
  out.put(static_cast<int32_t>(can));
  return result;
}

CUresult cuDeviceGetP2PAttribute(Session& session, const Command&, wire::Reader& in,
                                 wire::Writer& out) {
  const auto attribute = static_cast<CUdevice_P2PAttribute>(in.get<uint32_t>());
  const CUdevice source = session.device(in.get<uint32_t>());
  const CUdevice destination = session.device(in.get<uint32_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  if (session.driver().cuDeviceGetP2PAttribute == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  int value = 0;
  const CUresult result =
      session.driver().cuDeviceGetP2PAttribute(&value, attribute, source, destination);
  out.put(static_cast<int32_t>(value));
  return result;
}

}  // namespace vgpu::executor::handlers
