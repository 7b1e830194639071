// What the scheduler must know of a record beyond its stream.
#include "executor/server.h"

namespace vgpu::executor {

namespace {

// Stands for the free memory of the devices: no handle has this value.
constexpr uint64_t kFreeMemory = 1;
// Stands for the staging memory of graphs: instances of one graph share it, so that launches which
// involve the client's host memory or functions run one after the other.
constexpr uint64_t kHostSide = 2;

}  // namespace

std::vector<Resource> resources(Opcode opcode, std::span<const std::byte> payload) {
  wire::Reader in(payload);
  switch (opcode) {
    case Opcode::cuEventRecordWithFlags:
    case Opcode::cuEventDestroy_v2:
    case Opcode::cuFuncSetAttribute:
    case Opcode::cuFuncSetCacheConfig:
    case Opcode::cuGraphExecUpdate:
    case Opcode::cuGraphExecNodeSetParams:
    case Opcode::cuGraphNodeSetEnabled:
    case Opcode::cuGraphExecDestroy:
    case Opcode::cuGraphDestroy:
      return {{in.get<uint64_t>(), true}};
    case Opcode::cuKernelSetAttribute: {
      in.take(8);
      return {{in.get<uint64_t>(), true}};
    }
    case Opcode::cuMemFree_v2:
    case Opcode::cuMemRelease:
    case Opcode::cuMemUnmap:
    case Opcode::cuArrayDestroy:
      return {{kFreeMemory, true}};
    case Opcode::cuMemGetInfo_v2:
      return {{kFreeMemory, false}};
    case Opcode::cuStreamWaitEvent:
    case Opcode::cuEventQuery:
    case Opcode::cuEventSynchronize:
    case Opcode::cuGraphLaunch:
    case Opcode::cuGraphUpload:
    case Opcode::cuLaunchKernel:
    case Opcode::cuLaunchKernelEx:
    case Opcode::cuLaunchCooperativeKernel:
      return {{in.get<uint64_t>(), false}};
    case Opcode::cuEventElapsedTime: {
      const auto start = in.get<uint64_t>();
      return {{start, false}, {in.get<uint64_t>(), false}};
    }
    case Opcode::cuGraphInstantiateWithFlags: {
      const auto exec = in.get<uint64_t>();
      return {{exec, true}, {in.get<uint64_t>(), false}};
    }
    case Opcode::cuDevicePrimaryCtxRetain:
    case Opcode::cuDevicePrimaryCtxRelease_v2:
    case Opcode::cuDevicePrimaryCtxReset_v2:
    case Opcode::cuDevicePrimaryCtxSetFlags_v2:
      return {{wire::primary_context(static_cast<int>(in.get<uint32_t>() & 0xff)), true}};
    default:
      return {};
  }
}

void add_graph_resources(const Session& session, const Command& command,
                         std::vector<Resource>& uses) {
  wire::Reader in(command.payload);
  const auto exec = in.get<uint64_t>();
  const auto plan = session.host_plan(exec);
  if (plan == nullptr) return;
  uses = {{exec, false}};
  uses.insert(uses.end(), plan->events.begin(), plan->events.end());
  if (plan->involves_host()) uses.push_back({kHostSide, true});
}

// A copy on a legacy stream between memories of two devices starts after what was issued to either,
// and goes before what follows (CUDA C++ Programming Guide, "Peer-to-Peer Memory Copy"). Which
// copies are such is not looked up: this is asked only while some call waits.
bool may_cross_devices(const Command& command) {
  if (command.header.stream != 0) return false;
  switch (static_cast<Opcode>(command.header.opcode)) {
    case Opcode::cuMemcpyDtoDAsync_v2:
    case Opcode::cuMemcpyPeerAsync:
    case Opcode::cuMemcpy3DAsync_v2:
    case Opcode::cuMemcpy3DPeerAsync:
      return true;
    default:
      return false;
  }
}

uint64_t inbound_transfer(const Command& command) {
  if ((command.header.flags & wire::kHasBulk) == 0) return 0;
  const auto opcode = static_cast<Opcode>(command.header.opcode);
  if (opcode == Opcode::cuMemcpyDtoHAsync_v2) return 0;
  wire::Reader in(command.payload);
  const auto transfer = in.get<uint64_t>();
  if (opcode == Opcode::cuStreamAddCallback) {
    in.get<uint64_t>();
    if (in.get<wire::HostVerb>() == wire::HostVerb::kFetch) return 0;
  }
  if (opcode == Opcode::cuMemcpy3DAsync_v2) {
    const auto copy = in.get<wire::Copy3d>();
    if (copy.destination.memory_type == CU_MEMORYTYPE_HOST) return 0;
  }
  return transfer;
}

bool manages_contexts(Opcode opcode) {
  switch (opcode) {
    case Opcode::cuDevicePrimaryCtxRetain:
    case Opcode::cuDevicePrimaryCtxRelease_v2:
    case Opcode::cuDevicePrimaryCtxReset_v2:
    case Opcode::cuDevicePrimaryCtxSetFlags_v2:
    case Opcode::cuCtxCreate_v2:
    case Opcode::cuCtxDestroy_v2:
    case Opcode::cuDeviceCanAccessPeer:
    case Opcode::cuDeviceGetP2PAttribute:
      return true;
    default:
      return false;
  }
}

uint64_t subject_context(const Command& command) {
  wire::Reader in(command.payload);
  switch (static_cast<Opcode>(command.header.opcode)) {
    case Opcode::cuDevicePrimaryCtxRelease_v2:
    case Opcode::cuDevicePrimaryCtxReset_v2:
      return wire::primary_context(static_cast<int>(in.get<uint32_t>() & 0xff));
    case Opcode::cuCtxDestroy_v2:
      return in.get<uint64_t>();
    default:
      return 0;
  }
}

}  // namespace vgpu::executor
