#include "transport/zmq_api.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <sys/stat.h>

#include <climits>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace vgpu::transport {
namespace {

// A sanitizer's runtime refuses RTLD_DEEPBIND.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kOpenFlags = RTLD_NOW | RTLD_LOCAL;
#else
constexpr int kOpenFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif

// The directory of the library or program that this code is linked into.
std::string own_directory() {
  Dl_info info{};
  link_map* map = nullptr;
  std::string path = "/proc/self/exe";
  if (dladdr1(reinterpret_cast<void*>(&own_directory), &info, reinterpret_cast<void**>(&map),
              RTLD_DL_LINKMAP) != 0 &&
      map != nullptr && map->l_name != nullptr && map->l_name[0] != '\0') {
    path = map->l_name;
  }
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) return ".";
  path = resolved;
  return path.substr(0, path.rfind('/'));
}

std::string first_match(const std::string& pattern) {
  glob_t found{};
  std::string path;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0 && found.gl_pathc > 0)
    path = found.gl_pathv[0];
  globfree(&found);
  return path;
}

// What VGPU_ZMQ names (a file or a directory), else the places of an installed and of a build tree.
std::vector<std::string> candidates() {
  const char* chosen = std::getenv("VGPU_ZMQ");
  if (chosen != nullptr && chosen[0] != '\0') {
    struct stat status{};
    if (stat(chosen, &status) == 0 && S_ISDIR(status.st_mode)) {
      return {std::string(chosen) + "/libzmq*.so*"};
    }
    return {chosen};
  }
  const std::string own = own_directory();
  return {own + "/../lib/libzmq-*.so*", own + "/libzmq-*.so*",
          own + "/../vgpu/native/lib/libzmq-*.so*"};
}

template <typename Function>
bool bind(void* library, const char* name, Function& function, std::string& error) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) error = std::string("libzmq lacks ") + name;
  return function != nullptr;
}

bool bind_all(void* library, ZmqApi& api, std::string& error) {
  return bind(library, "zmq_ctx_new", api.ctx_new, error) &&
         bind(library, "zmq_ctx_set", api.ctx_set, error) &&
         bind(library, "zmq_ctx_shutdown", api.ctx_shutdown, error) &&
         bind(library, "zmq_ctx_term", api.ctx_term, error) &&
         bind(library, "zmq_socket", api.socket, error) &&
         bind(library, "zmq_close", api.close, error) &&
         bind(library, "zmq_setsockopt", api.setsockopt, error) &&
         bind(library, "zmq_getsockopt", api.getsockopt, error) &&
         bind(library, "zmq_bind", api.bind, error) &&
         bind(library, "zmq_connect", api.connect, error) &&
         bind(library, "zmq_socket_monitor", api.socket_monitor, error) &&
         bind(library, "zmq_msg_init", api.msg_init, error) &&
         bind(library, "zmq_msg_init_size", api.msg_init_size, error) &&
         bind(library, "zmq_msg_init_data", api.msg_init_data, error) &&
         bind(library, "zmq_msg_send", api.msg_send, error) &&
         bind(library, "zmq_msg_recv", api.msg_recv, error) &&
         bind(library, "zmq_msg_close", api.msg_close, error) &&
         bind(library, "zmq_msg_data", api.msg_data, error) &&
         bind(library, "zmq_msg_size", api.msg_size, error) &&
         bind(library, "zmq_msg_get", api.msg_get, error) &&
         bind(library, "zmq_errno", api.last_errno, error) &&
         bind(library, "zmq_strerror", api.strerror, error) &&
         bind(library, "zmq_curve_keypair", api.curve_keypair, error) &&
         bind(library, "zmq_z85_decode", api.z85_decode, error);
}

struct Loaded {
  ZmqApi api{};
  std::string error;
};

const Loaded* load() {
  auto* result = new Loaded;
  std::string looked;
  for (const std::string& pattern : candidates()) {
    const std::string path = first_match(pattern);
    if (path.empty()) {
      looked += (looked.empty() ? "" : ", ") + pattern;
      continue;
    }
    void* library = dlopen(path.c_str(), kOpenFlags);
    if (library == nullptr) {
      result->error = std::string("cannot load libzmq: ") + dlerror();
    } else if (!bind_all(library, result->api, result->error)) {
      result->error += " (" + path + ")";
    }
    return result;
  }
  result->error = "libzmq not found (looked for " + looked + "): set VGPU_ZMQ to its path";
  return result;
}

}  // namespace

const ZmqApi* ZmqApi::get(std::string& error) {
  static const Loaded* loaded = load();
  error = loaded->error;
  return error.empty() ? &loaded->api : nullptr;
}

}  // namespace vgpu::transport
