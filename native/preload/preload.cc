// Interposes dlopen() so that a program which opens the CUDA driver by absolute path gets the stub:
// glibc compares such a path with files, not with the SONAME of what is loaded already.
//
// Every other call is forwarded by a jump. dlopen() searches the RUNPATH of its caller, which it
// knows by its return address: a call from here would make it search ours.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

namespace {

using Open = void* (*)(const char*, int);

Open real_open() {
  static const Open open = reinterpret_cast<Open>(dlsym(RTLD_NEXT, "dlopen"));
  return open;
}

// The stub beside this library: <dir>/../stub/libcuda.so.1. Empty if that is not where we are.
const char* stub_path() {
  static char path[4096];
  if (path[0] != '\0') return path;
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&real_open), &info) == 0) return "";
  const char* slash = strrchr(info.dli_fname, '/');
  const size_t length = slash != nullptr ? static_cast<size_t>(slash - info.dli_fname) : 0;
  static constexpr char kTail[] = "/../stub/libcuda.so.1";
  if (slash == nullptr || length + sizeof kTail > sizeof path) return "";
  memcpy(path, info.dli_fname, length);
  memcpy(path + length, kTail, sizeof kTail);
  return path;
}

bool is_driver(const char* name) {
  const char* slash = name != nullptr ? strrchr(name, '/') : nullptr;
  if (slash == nullptr) return false;  // a plain name: LD_LIBRARY_PATH decides
  if (strcmp(slash, "/libcuda.so.1") != 0 && strcmp(slash, "/libcuda.so") != 0) return false;
  return strstr(name, "/vgpu/native/") == nullptr;  // our own libraries are meant as they are named
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void* dlopen(const char* name, int flags) {
  if (is_driver(name)) name = stub_path();
  return real_open()(name, flags);
}
