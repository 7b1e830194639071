// Launch attributes of kernel nodes.
#include <algorithm>

#include "generated/softgpu_api.h"
#include "softgpu/driver/graph_nodes.h"
#include "softgpu/driver/launch.h"

namespace vgpu::softgpu::api {
namespace {

CUresult read_attribute(const KernelOperation& kernel, CUkernelNodeAttrID id,
                        CUkernelNodeAttrValue& value) {
  value = {};
  switch (id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
      value.cooperative = kernel.cooperative ? 1 : 0;
      return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
      value.clusterDim = {kernel.cluster.x, kernel.cluster.y, kernel.cluster.z};
      return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  for (const CUlaunchAttribute& one : kernel.attributes) {
    if (one.id == id) value = one.value;
  }
  return CUDA_SUCCESS;
}

CUresult write_attribute(KernelOperation& kernel, CUkernelNodeAttrID id,
                         const CUkernelNodeAttrValue& value) {
  CUkernelNodeAttrValue before;
  if (const CUresult result = read_attribute(kernel, id, before)) return result;
  std::erase_if(kernel.attributes, [&](const CUlaunchAttribute& one) { return one.id == id; });
  CUlaunchAttribute attribute{};
  attribute.id = id;
  attribute.value = value;
  return apply_attributes(kernel, &attribute, 1);
}

}  // namespace

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode handle, CUkernelNodeAttrID id,
                                       CUkernelNodeAttrValue* out) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  const auto* kernel = operation_of<KernelOperation>(handle, node);
  if (out == nullptr || kernel == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return read_attribute(*kernel, id, *out);
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode handle, CUkernelNodeAttrID id,
                                       const CUkernelNodeAttrValue* value) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> node;
  auto* kernel = operation_of<KernelOperation>(handle, node);
  if (value == nullptr || kernel == nullptr) return CUDA_ERROR_INVALID_VALUE;
  KernelOperation changed = *kernel;
  if (const CUresult result = write_attribute(changed, id, *value)) return result;
  const auto module = changed.function->module.lock();
  if (!module) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_launch(changed, module->context->device)) return result;
  *kernel = std::move(changed);
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode to_handle, CUgraphNode from_handle) {
  const std::lock_guard lock(capture_mutex());
  std::shared_ptr<Node> to_node, from_node;
  auto* to = operation_of<KernelOperation>(to_handle, to_node);
  const auto* from = operation_of<KernelOperation>(from_handle, from_node);
  if (to == nullptr || from == nullptr) return CUDA_ERROR_INVALID_VALUE;
  to->attributes = from->attributes;
  to->cooperative = from->cooperative;
  to->cluster = from->cluster;
  return CUDA_SUCCESS;
}

}  // namespace vgpu::softgpu::api
