#include "softgpu/driver/user_object.h"

#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"

namespace vgpu::softgpu {

void release_user_object(uint64_t id, uint64_t count) {
  const std::lock_guard lock(capture_mutex());
  const auto object = driver().user_objects.find(id);
  if (!object || object->references < count) return;
  object->references -= count;
  if (object->references != 0) return;
  driver().user_objects.remove(as_handle<void*>(id));
  object->destroy(object->pointer);
}

HeldObjects::HeldObjects(const HeldObjects& other) : held_(other.held_) {
  const std::lock_guard lock(capture_mutex());
  for (const auto& [id, count] : held_) {
    if (const auto object = driver().user_objects.find(id)) object->references += count;
  }
}

HeldObjects::~HeldObjects() {
  for (const auto& [id, count] : held_) release_user_object(id, count);
}

bool HeldObjects::drop(uint64_t id, uint64_t count) {
  const auto found = held_.find(id);
  if (found == held_.end() || found->second < count) return false;
  found->second -= count;
  if (found->second == 0) held_.erase(found);
  release_user_object(id, count);
  return true;
}

namespace api {
namespace {

CUresult lookup(CUuserObject handle, unsigned count, std::shared_ptr<UserObject>& object) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  object = driver().user_objects.find(handle);
  return object && count != 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuUserObjectCreate(CUuserObject* out, void* pointer, CUhostFn destroy, unsigned count,
                            unsigned flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (out == nullptr || destroy == nullptr || count == 0 ||
      flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto object = std::make_shared<UserObject>();
  object->pointer = pointer;
  object->destroy = destroy;
  object->references = count;
  *out = as_handle<CUuserObject>(driver().user_objects.add(object));
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRetain(CUuserObject handle, unsigned count) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<UserObject> object;
  if (const CUresult result = lookup(handle, count, object)) return result;
  object->references += count;
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(CUuserObject handle, unsigned count) {
  std::shared_ptr<UserObject> object;
  if (const CUresult result = lookup(handle, count, object)) return result;
  release_user_object(object->id, count);
  return CUDA_SUCCESS;
}

CUresult cuGraphRetainUserObject(CUgraph graph_handle, CUuserObject handle, unsigned count,
                                 unsigned flags) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<UserObject> object;
  std::shared_ptr<Graph> graph;
  if (const CUresult result = lookup(handle, count, object)) return result;
  if (const CUresult result = find_graph(graph_handle, graph)) return result;
  if ((flags & ~unsigned{CU_GRAPH_USER_OBJECT_MOVE}) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (flags != CU_GRAPH_USER_OBJECT_MOVE) object->references += count;
  graph->user_objects.hold(object->id, count);
  return CUDA_SUCCESS;
}

CUresult cuGraphReleaseUserObject(CUgraph graph_handle, CUuserObject handle, unsigned count) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<UserObject> object;
  std::shared_ptr<Graph> graph;
  if (const CUresult result = lookup(handle, count, object)) return result;
  if (const CUresult result = find_graph(graph_handle, graph)) return result;
  return graph->user_objects.drop(object->id, count) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace api
}  // namespace vgpu::softgpu
