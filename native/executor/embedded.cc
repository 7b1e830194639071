#include "executor/embedded.h"

#include <signal.h>

#include <chrono>
#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "executor/describe.h"
#include "executor/log.h"
#include "executor/server.h"
#include "wire/record.h"

namespace vgpu::executor {
namespace {

// Drivers stay open as long as the process: by path, made once.
const Driver* open_once(const std::string& path, std::string& error) {
  static auto* mutex = new std::mutex;
  static auto* drivers = new std::map<std::string, std::unique_ptr<Driver>>;
  const std::lock_guard lock(*mutex);
  auto& driver = (*drivers)[path];
  if (driver == nullptr) driver = Driver::open(path, error);
  return driver.get();
}

char* copy(std::string_view text) {
  auto* memory = static_cast<char*>(std::malloc(text.size() + 1));
  if (memory == nullptr) return nullptr;
  std::memcpy(memory, text.data(), text.size());
  memory[text.size()] = 0;
  return memory;
}

int fail(char** error, const std::string& message) {
  if (error != nullptr) *error = copy(message);
  return 1;
}

wire::Value attached(const Driver& driver) {
  wire::Value value = describe(driver);
  value.set("t", "attached");
  value.set("version", wire::Value::array({wire::kMajor, wire::kMinor}));
  value.set("worker", "in this process");
  const std::array<std::byte, 16> session{};
  value.set("session", wire::Value::binary(session));
  value.set("disable_features", wire::Value::Array{});
  wire::Value limits;
  limits.set("vram", nullptr);
  value.set("limits", std::move(limits));
  return value;
}

SessionOptions session_options(const Driver& driver, uint64_t vram_limit, std::string& error) {
  SessionOptions options;
  options.driver = &driver;
  for (const auto& device : driver.devices()) options.devices.push_back(device.ordinal);
  if (vram_limit != 0) {
    const std::vector<uint64_t> limits(options.devices.size(), vram_limit);
    options.ledger = Ledger::open_private(limits, error);
  }
  return options;
}

// The application's signals are not for this thread, nor for those that it starts.
void start_thread(std::function<void()> body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread(std::move(body)).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace vgpu::executor

struct VgpuEmbeddedSession {
  std::unique_ptr<vgpu::executor::Server> server;
  std::promise<void> done;
  std::future<void> finished = done.get_future();
};

extern "C" {

#define VGPU_EXPORT __attribute__((visibility("default")))

VGPU_EXPORT int vgpu_embedded_attach(const char* driver_path, uint8_t** bytes, uint64_t* size,
                                     char** error) {
  std::string problem;
  const auto* driver = vgpu::executor::open_once(driver_path, problem);
  if (driver == nullptr) return vgpu::executor::fail(error, problem);
  const std::string message = vgpu::wire::pack(vgpu::executor::attached(*driver));
  *bytes = reinterpret_cast<uint8_t*>(vgpu::executor::copy(message));
  *size = message.size();
  return 0;
}

VGPU_EXPORT int vgpu_embedded_start(const VgpuEmbeddedOptions* options,
                                    VgpuEmbeddedSession** session, char** error) {
  using vgpu::executor::Server;
  auto channel = std::unique_ptr<vgpu::transport::Channel>(
      static_cast<vgpu::transport::Channel*>(options->channel));
  if (options->size < sizeof(VgpuEmbeddedOptions)) {
    return vgpu::executor::fail(error, "libvgpu-embedded.so is newer than the client library");
  }
  std::string problem;
  const auto* driver = vgpu::executor::open_once(options->driver_path, problem);
  if (driver == nullptr) return vgpu::executor::fail(error, problem);
  const auto session_options =
      vgpu::executor::session_options(*driver, options->vram_limit, problem);
  if (!problem.empty()) return vgpu::executor::fail(error, problem);
  vgpu::transport::ServerLinkOptions link;
  std::memcpy(link.token.data(), options->token, link.token.size());
  auto* started = new VgpuEmbeddedSession;
  started->server = std::make_unique<Server>(session_options, std::move(channel), link,
                                             vgpu::executor::ServerEvents{});
  vgpu::executor::start_thread([started] {
    started->server->run();
    started->server->session().close();
    started->done.set_value();
  });
  *session = started;
  return 0;
}

VGPU_EXPORT void vgpu_embedded_stop(VgpuEmbeddedSession* session, int deadline_ms) {
  if (session == nullptr) return;
  session->server->stop("the program ended");
  if (session->finished.wait_for(std::chrono::milliseconds(deadline_ms)) ==
      std::future_status::ready) {
    delete session;
  }
}

VGPU_EXPORT void vgpu_embedded_free(void* memory) { std::free(memory); }

}  // extern "C"
