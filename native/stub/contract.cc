#include "stub/contract.h"

#include <mutex>

#include "contract/contract.h"
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/log.h"
#include "stub/process.h"

namespace vgpu::stub {
namespace {

std::vector<contract::DeviceIdentity> identities() {
  std::vector<contract::DeviceIdentity> all;
  const Process* found = process();
  if (found == nullptr) return all;
  for (const auto& device : found->devices) {
    all.push_back({device->uuid, device->pci[0], device->pci[1], device->pci[2]});
  }
  return all;
}

CUresult primary_context(CUcontext* context, CUdevice ordinal) {
  const Process* found = process();
  const Device* device = found == nullptr ? nullptr : found->device(ordinal);
  if (context == nullptr || device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *context = as_handle<CUcontext>(device->primary.id);
  return CUDA_SUCCESS;
}

CUcontext current() {
  const Context* context = this_thread().current();
  return context == nullptr ? nullptr : as_handle<CUcontext>(context->id);
}

CUresult context_device(CUcontext handle, CUdevice* device) {
  return api::cuCtxGetDevice_v2(device, handle);
}

CUresult context_id(CUcontext handle, uint64_t* id) {
  unsigned long long number = 0;
  const CUresult result = api::cuCtxGetId(handle, &number);
  if (id != nullptr) *id = number;
  return result;
}

CUresult visit_functions(CUmodule module, void (*visit)(void*, CUfunction), void* user) {
  unsigned int count = 0;
  CUresult result = api::cuModuleGetFunctionCount(&count, module);
  if (result != CUDA_SUCCESS) return result;
  std::vector<CUfunction> functions(count);
  result = api::cuModuleEnumerateFunctions(functions.data(), count, module);
  for (const CUfunction function : functions) {
    if (result == CUDA_SUCCESS) visit(user, function);
  }
  return result;
}

void log_missing_slot(const char* table, int slot) {
  log(LogLevel::kWarning, "export table %s: slot %d is not served (CUDA_ERROR_NOT_SUPPORTED)",
      table, slot);
}

}  // namespace

void install_contract() {
  static std::once_flag once;
  std::call_once(once, [] {
    contract::Driver driver{};
    driver.driver_version = driver_version;
    driver.devices = identities;
    driver.primary_context = primary_context;
    driver.current_context = current;
    driver.context_device = context_device;
    driver.context_id = context_id;
    driver.visit_functions = visit_functions;
    driver.module_load = api::cuModuleLoadData;
    driver.module_unload = api::cuModuleUnload;
    driver.log_missing_slot = log_missing_slot;
    contract::install(driver);
  });
}

}  // namespace vgpu::stub

namespace vgpu::stub::api {

CUresult cuGetExportTable(const void** ppExportTable, const CUuuid* pExportTableId) {
  install_contract();
  return contract::export_table(ppExportTable, pExportTableId);
}

}  // namespace vgpu::stub::api
