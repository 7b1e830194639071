// vgpu-executor: serves one client's session on one driver library, and exits.
//
//   --driver PATH --control-fd N [--ledger-fd M --slot K] [--warm]   serve, told by the worker
//   --driver PATH --probe                                            print the devices as JSON
//   --make-ledger --ledger-fd M --limits A,B,... --slots S           fill a memfd for the worker
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include "executor/control.h"
#include "executor/describe.h"
#include "executor/log.h"
#include "executor/output.h"
#include "executor/server.h"
#include "transport/endpoints.h"

namespace vgpu::executor {
namespace {

struct Arguments {
  std::string driver;
  int control_fd = -1;
  int ledger_fd = -1;
  uint32_t slot = 0;
  uint32_t slots = 0;
  std::vector<uint64_t> limits;
  bool probe = false;
  bool warm = false;
  bool make_ledger = false;
};

template <typename T>
bool number(const char* text, T& value) {
  const char* end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, value);
  return error == std::errc() && at == end;
}

bool numbers(const char* text, std::vector<uint64_t>& values) {
  std::string rest = text;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    uint64_t value = 0;
    if (!number(rest.substr(0, comma).c_str(), value)) return false;
    values.push_back(value);
    rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
  }
  return !values.empty();
}

bool parse_value(Arguments& arguments, std::string_view name, const char* value) {
  if (name == "--driver") {
    arguments.driver = value;
    return true;
  }
  if (name == "--control-fd") return number(value, arguments.control_fd);
  if (name == "--ledger-fd") return number(value, arguments.ledger_fd);
  if (name == "--slot") return number(value, arguments.slot);
  if (name == "--slots") return number(value, arguments.slots);
  if (name == "--limits") return numbers(value, arguments.limits);
  return false;
}

std::optional<Arguments> parse(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string_view name = values[i];
    if (name == "--probe") {
      arguments.probe = true;
    } else if (name == "--warm") {
      arguments.warm = true;
    } else if (name == "--make-ledger") {
      arguments.make_ledger = true;
    } else if (i + 1 >= count || !parse_value(arguments, name, values[++i])) {
      std::fprintf(stderr, "vgpu executor: bad argument: %s\n", values[i]);
      return std::nullopt;
    }
  }
  return arguments;
}

int fail(const std::string& message) {
  std::fprintf(stderr, "vgpu executor: %s\n", message.c_str());
  return 1;
}

int make_ledger(const Arguments& arguments) {
  std::string error;
  if (!Ledger::make(arguments.ledger_fd, arguments.limits, arguments.slots, error)) {
    return fail(error);
  }
  return 0;
}

int probe(const Arguments& arguments) {
  std::string error;
  const auto driver = Driver::open(arguments.driver, error);
  if (driver == nullptr) {
    std::printf("%s\n", error_json("driver", error).c_str());
    std::fflush(stdout);
    return fail(error);
  }
  std::printf("%s\n", describe_json(*driver).c_str());
  return 0;
}

// Ends the process even if the driver does not let go of a thread.
void end_anyway_in(std::chrono::milliseconds deadline) {
  std::thread([deadline] {
    std::this_thread::sleep_for(deadline);
    _exit(1);
  }).detach();
}

// What the worker's `bind` asks for, checked.
struct Binding {
  transport::ServerLinkOptions link;
  transport::ZmqEndpoints endpoints;
  std::string client_public;
  std::vector<int> devices;
};

bool read_binding(const wire::Value& message, const Driver& driver, Binding& binding,
                  std::string& error) {
  const auto token = message["token"].bytes();
  if (token.size() != binding.link.token.size()) {
    error = "bind: the token must have 16 bytes";
    return false;
  }
  std::memcpy(binding.link.token.data(), token.data(), token.size());
  binding.endpoints.command = message["command"].text();
  binding.endpoints.bulk = message["bulk"].text();
  binding.client_public = message["client_public"].text();
  if (const auto secret = message["server_secret"].text(); !secret.empty()) {
    transport::CurveKeys keys;
    keys.public_key = message["server_public"].text();
    keys.secret_key = secret;
    binding.endpoints.curve = std::move(keys);
  }
  if (const auto silence = message["silence_timeout_ms"].integer(); silence && *silence > 0) {
    binding.link.silence_timeout_ms = static_cast<int>(std::min<int64_t>(*silence, 86400000));
  }
  for (const auto& one : message["devices"].elements()) {
    const auto ordinal = one.integer();
    if (!ordinal || *ordinal < 0 || *ordinal >= static_cast<int64_t>(driver.devices().size())) {
      error = "bind: a device that the driver does not have";
      return false;
    }
    binding.devices.push_back(static_cast<int>(*ordinal));
  }
  for (const auto& [name, value] : message["environment"].pairs()) {
    setenv(std::string(name.text()).c_str(), std::string(value.text()).c_str(), 1);
  }
  return true;
}

class Process {
 public:
  explicit Process(Arguments arguments)
      : arguments_(std::move(arguments)),
        control_(arguments_.control_fd),
        output_(CaughtOutput::begin()) {}

  int run() {
    std::string error;
    if (!prepare(error)) {
      wire::Value message;
      message.set("code", "executor");
      message.set("message", error);
      control_.send("error", std::move(message));
      if (output_ != nullptr) output_->end();
      return fail(error);
    }
    wire::Value ready = describe(*driver_);
    // From here on the death of the worker is told to the client first.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    ready.set("pid", static_cast<int64_t>(getpid()));
    control_.send("ready", std::move(ready));
    for (;;) {
      wire::Value message;
      std::string reason;
      const Control::Event event = control_.wait(message, reason);
      if (event != Control::Event::kMessage) {
        log(LogLevel::kInfo, "%s", reason.c_str());
        leave();
      }
      if (message["t"].text() == "bind" && serve(message)) leave();
    }
  }

 private:
  bool prepare(std::string& error) {
    driver_ = Driver::open(arguments_.driver, error);
    if (driver_ == nullptr) return false;
    if (arguments_.ledger_fd >= 0) {
      ledger_ = Ledger::open(arguments_.ledger_fd, arguments_.slot, error);
      if (ledger_ == nullptr) return false;
    }
    if (arguments_.warm && !driver_->devices().empty()) {
      CUcontext context = nullptr;
      warmed_ = driver_->table().cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS;
    }
    return true;
  }

  // True when a session was served; false when the binding failed, and another may be tried.
  bool serve(const wire::Value& message) {
    Binding binding;
    std::string error;
    std::unique_ptr<transport::ZmqListener> listener;
    if (read_binding(message, *driver_, binding, error)) {
      listener = transport::ZmqListener::bind(binding.endpoints, binding.client_public, error);
    }
    wire::Value answer;
    if (listener == nullptr) {
      answer.set("code", "executor");
      answer.set("message", error);
      control_.send("error", std::move(answer));
      return false;
    }
    answer.set("command", listener->endpoints().command);
    answer.set("bulk", listener->endpoints().bulk);
    control_.send("bound", std::move(answer));

    ServerEvents events;
    events.began = [this] { control_.send("began", {}); };
    events.report = [this](const Statistics& statistics) { report(statistics); };
    SessionOptions options{driver_.get(), binding.devices, ledger_, output_};
    server_ = new Server(options, listener->channel(), binding.link, std::move(events));
    if (warmed_) take_warm_context(binding);
    std::thread([this] { watch(); }).detach();
    server_->run();
    wire::Value ended;
    ended.set("reason", server_->reason());
    ended.set("clean", server_->clean());
    control_.send("ended", std::move(ended));
    return true;
  }

  // The context was made ahead on driver device 0: the session takes it over if it has that device.
  void take_warm_context(const Binding& binding) {
    for (size_t ordinal = 0; ordinal < binding.devices.size(); ++ordinal) {
      if (binding.devices[ordinal] != 0) continue;
      server_->session().contexts().activate(wire::primary_context(static_cast<int>(ordinal)));
    }
    driver_->table().cuDevicePrimaryCtxRelease_v2(0);
    warmed_ = false;
  }

  void report(const Statistics& statistics) {
    wire::Value message;
    message.set("records", statistics.records.load());
    message.set("launches", statistics.launches.load());
    message.set("late_errors", statistics.late_errors.load());
    message.set("bytes_in", statistics.bytes_in.load());
    message.set("bytes_out", statistics.bytes_out.load());
    control_.send("statistics", std::move(message));
  }

  // A thread of its own while a session is served.
  void watch() {
    for (;;) {
      wire::Value message;
      std::string reason;
      if (control_.wait(message, reason) == Control::Event::kMessage) continue;
      end_anyway_in(std::chrono::seconds(3));
      server_->stop(reason);
      return;
    }
  }

  // The driver's own clean-up runs after a regular end, when no thread of ours is inside it.
  [[noreturn]] void leave() {
    end_anyway_in(std::chrono::seconds(5));
    if (output_ != nullptr) output_->end();
    std::fflush(nullptr);
    if (server_ != nullptr && (!server_->clean() || !server_->session().waiters().drain(1000))) {
      _exit(0);
    }
    std::exit(0);
  }

  const Arguments arguments_;
  Control control_;
  CaughtOutput* const output_;  // null: there are no memory files
  std::unique_ptr<Driver> driver_;
  std::shared_ptr<Ledger> ledger_;
  Server* server_ = nullptr;  // dies with the process: threads may still use it
  bool warmed_ = false;
};

int serve(Arguments arguments) {
  // The worker may have died before this line: its end of the socketpair then reads end-of-file.
  // While the driver starts, which can take long, nobody listens: so the signal must be one that
  // kills.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  if (fcntl(arguments.control_fd, F_GETFD) < 0) return fail("--control-fd is no open file");
  static auto* process = new Process(std::move(arguments));
  return process->run();
}

int run(int count, char** values) {
  auto arguments = parse(count, values);
  if (!arguments) return 2;
  if (arguments->make_ledger) return make_ledger(*arguments);
  if (arguments->probe) return probe(*arguments);
  if (arguments->control_fd < 0)
    return fail("one of --probe, --make-ledger, --control-fd is needed");
  return serve(std::move(*arguments));
}

}  // namespace
}  // namespace vgpu::executor

int main(int count, char** values) { return vgpu::executor::run(count, values); }
