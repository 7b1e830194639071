// The process-wide state. Made by cuInit and never destroyed: runtimes call from exit handlers, and
// streams may still work then.
#pragma once

#include <cuda.h>

#include <atomic>
#include <memory>
#include <vector>

#include "softgpu/driver/array.h"
#include "softgpu/driver/config.h"
#include "softgpu/driver/context.h"
#include "softgpu/driver/device.h"
#include "softgpu/driver/event.h"
#include "softgpu/driver/graph.h"
#include "softgpu/driver/link.h"
#include "softgpu/driver/memory.h"
#include "softgpu/driver/module.h"
#include "softgpu/driver/pool.h"
#include "softgpu/driver/registry.h"
#include "softgpu/driver/stream.h"
#include "softgpu/driver/summary.h"
#include "softgpu/driver/texture.h"
#include "softgpu/driver/user_object.h"
#include "softgpu/driver/vmm.h"
#include "softgpu/shadow.h"

namespace vgpu::softgpu {

constexpr int kDriverVersion = 13000;

struct Driver {
  explicit Driver(Config config);

  const Config config;
  std::vector<std::unique_ptr<Device>> devices;
  Allocations allocations;
  std::unique_ptr<Shadow> shadow;  // null: reads are not checked for being initialised
  Registry<Context> contexts{HandleKind::kContext};
  Registry<Stream> streams{HandleKind::kStream};
  Registry<Event> events{HandleKind::kEvent};
  Registry<Module> modules{HandleKind::kModule};
  Registry<Function> functions{HandleKind::kFunction};
  Registry<Library> libraries{HandleKind::kLibrary};
  Registry<KernelHandle> kernels{HandleKind::kKernel};
  Registry<Graph> graphs{HandleKind::kGraph};
  Registry<Node> nodes{HandleKind::kNode};
  Registry<GraphExec> graph_execs{HandleKind::kGraphExec};
  Registry<Pool> pools{HandleKind::kPool};
  Registry<PhysicalMemory> physical{HandleKind::kPhysicalMemory};
  Registry<LinkState> links{HandleKind::kLink};
  Registry<UserObject> user_objects{HandleKind::kUserObject};
  Registry<Array> arrays{HandleKind::kArray};
  Registry<MipmappedArray> mipmapped_arrays{HandleKind::kMipmappedArray};
  Registry<Texture> textures{HandleKind::kTexture};
  Registry<Surface> surfaces{HandleKind::kSurface};
  std::mutex pools_mutex;
  std::atomic<uint64_t> serial{1};  // ids of streams, captures, buffers
  Summary summary;
  std::atomic<uint64_t> launches{0};
  std::atomic<uint64_t> instructions{0};     // what kernels that ended have executed, as
  std::atomic<uint64_t> lane_operations{0};  // ptx::RunStatistics counts it

  ptx::Engine& engine();
};

CUresult initialise();  // cuInit
bool initialised();
// The process is in exit(): runtimes may be half destroyed, so nothing of theirs is called any
// more, and what contexts hold is left to the system.
bool exiting();
Driver& driver();  // Requires initialised().

}  // namespace vgpu::softgpu
