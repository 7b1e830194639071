#include "stub/control.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>

#include "executor/embedded.h"
#include "wire/record.h"

extern char* program_invocation_short_name;

namespace vgpu::stub {
namespace {

constexpr int kAttachTimeoutMs = 4000;
// A cold executor has to start a driver first.
constexpr int kBindTimeoutMs = 30000;
constexpr int kEndTimeoutMs = 1500;

using wire::Value;

bool read_optional_keys(const Settings& settings, std::optional<transport::CurveKeys>& keys,
                        std::string& error) {
  if (settings.keys.empty()) return true;
  keys.emplace();
  return read_keys(settings.keys, *keys, error);
}

// One request on a connection of its own. False with `refusal` set; `answer` has type `wanted`.
bool ask(const Settings& settings, const Value& request, const char* wanted, int timeout_ms,
         Value& answer, Refusal& refusal) {
  refusal.code = "connection";
  std::optional<transport::CurveKeys> keys;
  if (!read_optional_keys(settings, keys, refusal.message)) return false;
  auto control = transport::ControlClient::connect(settings.worker, keys, refusal.message);
  if (control == nullptr) return false;
  std::string bytes;
  if (!control->request(wire::pack(request), bytes, timeout_ms, refusal.message)) return false;
  std::string error;
  if (!wire::unpack(std::string_view(bytes), answer, error) || !answer.is_map()) {
    refusal.message = settings.worker + " answered something that is not a vgpu message";
    return false;
  }
  const std::string type(answer["t"].text());
  if (type == wanted) return true;
  if (type == "error") {
    refusal = {std::string(answer["code"].text()), std::string(answer["message"].text())};
  } else {
    refusal.message = settings.worker + " gave an answer that was not asked for (" + type + ")";
  }
  return false;
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

// tcp://host:port -> host; brackets of an IPv6 address stay.
std::string host_of(const std::string& url) {
  const size_t begin = url.find("://");
  if (begin == std::string::npos) return {};
  const size_t colon = url.rfind(':');
  return colon <= begin + 3 ? std::string() : url.substr(begin + 3, colon - begin - 3);
}

std::string with_host(const std::string& url, const std::string& host) {
  static constexpr char kAny[] = "tcp://*:";
  return url.starts_with(kAny) ? "tcp://" + host + ":" + url.substr(sizeof kAny - 1) : url;
}

Value binary(const std::string& bytes) { return wire::Value(Value::Binary{bytes}); }

Value hello() {
  return Value::map({{"t", "hello"},
                     {"id", 1},
                     {"version", Value::array({int{wire::kMajor}, int{wire::kMinor}})},
                     {"client", Value::map({{"pid", static_cast<int>(::getpid())},
                                            {"host", host_name()},
                                            {"program", program_invocation_short_name}})}});
}

}  // namespace

std::string bytes_of(const Value& value) {
  const auto bytes = value.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool request_attach(const Settings& settings, Value& attached, Refusal& refusal) {
  return ask(settings, hello(), "attached", kAttachTimeoutMs, attached, refusal);
}

bool request_bind(const Settings& settings, const std::string& session, Bound& bound,
                  std::string& error) {
  std::optional<transport::CurveKeys> keys;
  if (!read_optional_keys(settings, keys, error)) return false;
  if (keys) keys = transport::make_curve_keys();  // of this session alone
  Value::Map environment;
  for (const auto& [name, value] : settings.driver_environment)
    environment.emplace_back(name, value);
  const Value request = Value::map({{"t", "bind"},
                                    {"id", 2},
                                    {"session", binary(session)},
                                    {"environment", environment},
                                    {"client_public", keys ? keys->public_key : std::string()}});
  Value answer;
  Refusal refusal;
  if (!ask(settings, request, "bound", kBindTimeoutMs, answer, refusal)) {
    error = refusal.message;
    return false;
  }
  const std::string host = host_of(settings.worker);
  bound.endpoints.command = with_host(std::string(answer["command"].text()), host);
  bound.endpoints.bulk = with_host(std::string(answer["bulk"].text()), host);
  bound.token = bytes_of(answer["token"]);
  if (keys) {
    keys->server_public = std::string(answer["server_public"].text());
    bound.endpoints.curve = keys;
  }
  if (bound.token.size() != 16 || bound.endpoints.command.empty() || bound.endpoints.bulk.empty()) {
    error = settings.worker + " gave an incomplete answer to bind";
    return false;
  }
  return true;
}

std::string request_end_reason(const Settings& settings, const std::string& session) {
  const Value request = Value::map({{"t", "end"}, {"id", 3}, {"session", binary(session)}});
  Value answer;
  Refusal refusal;
  if (!ask(settings, request, "ended", kEndTimeoutMs, answer, refusal)) return {};
  return std::string(answer["reason"].text());
}

void* embedded_library(std::string* error) {
  static std::mutex mutex;
  static void* library = nullptr;
  const std::lock_guard lock(mutex);
  if (library != nullptr) return library;
  Dl_info info{};
  ::dladdr(reinterpret_cast<void*>(&embedded_library), &info);
  std::string path = info.dli_fname == nullptr ? "" : info.dli_fname;
  char* real = ::realpath(path.c_str(), nullptr);
  if (real != nullptr) path = real;
  std::free(real);
  path = path.substr(0, path.find_last_of('/')) + "/../lib/libvgpu-embedded.so";
  library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (library == nullptr && error != nullptr) *error = ::dlerror();
  return library;
}

bool embedded_attach(const std::string& driver, Value& attached, Refusal& refusal) {
  refusal.code = "connection";
  void* library = embedded_library(&refusal.message);
  if (library == nullptr) return false;
  const auto attach =
      reinterpret_cast<decltype(&vgpu_embedded_attach)>(::dlsym(library, "vgpu_embedded_attach"));
  const auto release =
      reinterpret_cast<decltype(&vgpu_embedded_free)>(::dlsym(library, "vgpu_embedded_free"));
  if (attach == nullptr || release == nullptr) {
    refusal.message = "libvgpu-embedded.so is not complete";
    return false;
  }
  uint8_t* bytes = nullptr;
  uint64_t size = 0;
  char* failure = nullptr;
  if (attach(driver.c_str(), &bytes, &size, &failure) != 0) {
    refusal.message = failure == nullptr ? driver + " cannot be used" : failure;
    release(failure);
    return false;
  }
  std::string error;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const bool parsed = wire::unpack(text, attached, error) && attached.is_map();
  release(bytes);
  if (!parsed) refusal.message = "the embedded executor answered something malformed: " + error;
  return parsed;
}

}  // namespace vgpu::stub
