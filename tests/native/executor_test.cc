// The executor in this process, spoken to as the stub does, on the software GPU of this build (or
// on the driver that VGPU_TEST_DRIVER names).
#include <cuda.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "check.h"
#include "executor/server.h"
#include "generated/executor_api.h"
#include "image/image.h"
#include "transport/client_link.h"
#include "transport/endpoints.h"
#include "wire/calls.h"

namespace {

using vgpu::Opcode;
using vgpu::executor::Driver;
using vgpu::executor::Ledger;
using vgpu::executor::Server;
using vgpu::transport::ClientLink;
using vgpu::transport::Reply;
namespace wire = vgpu::wire;

const Driver& driver() {
  static const std::unique_ptr<Driver> opened = [] {
    std::string path;
    if (const char* given = std::getenv("VGPU_TEST_DRIVER"); given != nullptr) {
      path = given;
    } else {
      char self[4096] = {};
      if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) std::abort();
      path = self;
      path = path.substr(0, path.rfind('/')) + "/../vgpu/native/softgpu/libcuda.so.1";
    }
    std::string error;
    auto driver = Driver::open(path, error);
    if (driver == nullptr) {
      std::fprintf(stderr, "%s\n", error.c_str());
      std::abort();
    }
    return driver;
  }();
  return *opened;
}

constexpr uint64_t kContext = wire::primary_context(0);
uint64_t id(wire::HandleKind kind, uint64_t counter) {
  return wire::make_handle(kind, 0x2000 + counter);
}

// A payload, written field by field.
struct Payload : wire::Writer {
  template <typename... T>
  explicit Payload(const T&... fields) {
    (put(fields), ...);
  }
};

// One session: the executor on a thread, and the client's end of its channel.
class Session {
 public:
  explicit Session(uint64_t limit = 0) {
    auto [client, server] = vgpu::transport::make_inproc_pair();
    vgpu::executor::SessionOptions options;
    options.driver = &driver();
    options.devices = {0};
    std::string error;
    if (limit != 0) options.ledger = Ledger::open_private(std::span(&limit, 1), error);
    vgpu::transport::ServerLinkOptions server_link;
    server_ = std::make_unique<Server>(options, std::move(server), server_link,
                                       vgpu::executor::ServerEvents{});
    thread_ = std::thread([this] {
      server_->run();
      server_->session().close();
    });
    link_ = ClientLink::open(std::move(client), {}, error);
    if (link_ == nullptr) {
      std::fprintf(stderr, "%s\n", error.c_str());
      std::abort();
    }
    send(Opcode::cuDevicePrimaryCtxRetain, Payload(uint32_t{0}, kContext));
  }
  ~Session() {
    link_->close(1000);
    thread_.join();
  }

  Reply call(Opcode opcode, const wire::Writer& payload = {}, uint64_t stream = 0,
             uint16_t flags = 0) {
    const std::span<const std::byte> part = payload.bytes();
    return link_->call(header(opcode, stream, flags), {&part, 1});
  }
  CUresult result(Opcode opcode, const wire::Writer& payload = {}, uint64_t stream = 0) {
    return static_cast<CUresult>(call(opcode, payload, stream).header.result);
  }
  void send(Opcode opcode, const wire::Writer& payload = {}, uint64_t stream = 0,
            uint16_t flags = 0) {
    const std::span<const std::byte> part = payload.bytes();
    CHECK(link_->append(header(opcode, stream, flags), {&part, 1}));
  }
  uint64_t allocate(uint64_t size) {
    const Reply reply = call(Opcode::cuMemAlloc_v2, Payload(size));
    CHECK_EQ(reply.header.result, 0);
    return reply.reader().get<uint64_t>();
  }
  void upload(uint64_t to, const std::vector<std::byte>& data, uint64_t stream = 0) {
    if (data.size() > wire::kMaxInline) {
      const uint64_t transfer = link_->send_bulk(data.data(), data.size());
      send(Opcode::cuMemcpyHtoDAsync_v2, Payload(transfer, to, uint64_t{data.size()}), stream,
           wire::kHasBulk);
      return;
    }
    Payload payload(to, uint64_t{data.size()});
    payload.raw(data.data(), data.size());
    send(Opcode::cuMemcpyHtoDAsync_v2, payload, stream);
  }
  std::vector<std::byte> download(uint64_t from, uint64_t size, uint64_t stream = 0) {
    std::vector<std::byte> data(size);
    if (size > wire::kMaxInline) {
      const uint64_t transfer = link_->expect_bulk(data.data(), size);
      const Reply reply =
          call(Opcode::cuMemcpyDtoHAsync_v2, Payload(transfer, from, size), stream, wire::kHasBulk);
      CHECK_EQ(reply.header.result, 0);
      return data;
    }
    const Reply reply = call(Opcode::cuMemcpyDtoHAsync_v2, Payload(from, size), stream);
    CHECK_EQ(reply.header.result, 0);
    return reply.payload;
  }
  uint64_t make_stream(uint64_t counter, uint32_t flags = 0) {
    const uint64_t stream = id(wire::HandleKind::kStream, counter);
    send(Opcode::cuStreamCreateWithPriority, Payload(stream, flags, int32_t{0}));
    return stream;
  }
  ClientLink& link() { return *link_; }
  Server& server() { return *server_; }

 private:
  static wire::RecordHeader header(Opcode opcode, uint64_t stream, uint16_t flags) {
    wire::RecordHeader header{};
    header.opcode = static_cast<uint16_t>(opcode);
    header.flags = flags;
    header.thread = 1;
    header.context = kContext;
    header.stream = stream;
    return header;
  }

  std::unique_ptr<Server> server_;
  std::thread thread_;
  std::unique_ptr<ClientLink> link_;
};

std::vector<std::byte> pattern(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> data(size);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random());
  return data;
}

// y[i] = a * x[i] + y[i]
constexpr char kSaxpy[] = R"(
.version 7.0
.target sm_52
.address_size 64
.visible .entry saxpy(.param .u64 px, .param .u64 py, .param .f32 pa, .param .u32 pn)
{
  .reg .pred %p<2>;
  .reg .f32 %f<4>;
  .reg .b32 %r<6>;
  .reg .b64 %rd<8>;
  ld.param.u64 %rd1, [px];
  ld.param.u64 %rd2, [py];
  ld.param.f32 %f1, [pa];
  ld.param.u32 %r2, [pn];
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %ntid.x;
  mov.u32 %r5, %tid.x;
  mad.lo.s32 %r1, %r3, %r4, %r5;
  setp.ge.u32 %p1, %r1, %r2;
  @%p1 bra DONE;
  mul.wide.u32 %rd3, %r1, 4;
  add.s64 %rd4, %rd1, %rd3;
  add.s64 %rd5, %rd2, %rd3;
  ld.global.f32 %f2, [%rd4];
  ld.global.f32 %f3, [%rd5];
  fma.rn.f32 %f3, %f1, %f2, %f3;
  st.global.f32 [%rd5], %f3;
DONE:
  ret;
}
)";

uint64_t load_module(Session& session, uint64_t counter) {
  const uint64_t module = id(wire::HandleKind::kModule, counter);
  const std::string_view text(kSaxpy);
  const auto ptx = static_cast<uint32_t>(vgpu::image::Kind::kPtx);
  Payload payload(module, wire::LoadImage{ptx, 1, 0, 0, 0, 0}, uint64_t{text.size()});
  payload.raw(text.data(), text.size());
  CHECK_EQ(session.result(Opcode::cuModuleLoadDataEx, payload), CUDA_SUCCESS);
  return module;
}

}  // namespace

TEST(bytes_come_back_as_they_went) {
  Session session;
  for (const size_t size : {1u, 100u, 65536u, 65537u, 5000001u}) {
    const uint64_t memory = session.allocate(size);
    const auto data = pattern(size, static_cast<uint32_t>(size));
    session.upload(memory, data);
    CHECK(session.download(memory, size) == data);
    session.send(Opcode::cuMemFree_v2, Payload(memory));
  }
  CHECK_EQ(session.result(Opcode::cuCtxSynchronize), CUDA_SUCCESS);
  CHECK_EQ(session.server().session().statistics().late_errors.load(), 0u);
}

TEST(many_uploads_in_a_row_keep_their_bytes) {
  Session session;
  const uint64_t stream = session.make_stream(1);
  const uint64_t memory = session.allocate(2000 * 1024);
  for (uint32_t i = 0; i < 2000; ++i) session.upload(memory + i * 1024, pattern(1024, i), stream);
  CHECK_EQ(session.result(Opcode::cuStreamSynchronize, {}, stream), CUDA_SUCCESS);
  const auto all = session.download(memory, 2000 * 1024, stream);
  for (uint32_t i = 0; i < 2000; i += 37) {
    const auto expected = pattern(1024, i);
    CHECK(std::memcmp(all.data() + i * 1024, expected.data(), 1024) == 0);
  }
}

TEST(a_kernel_runs) {
  Session session;
  const uint64_t module = load_module(session, 1);
  const uint64_t function = id(wire::HandleKind::kFunction, 1);
  Payload look_up(module, function);
  look_up.text("saxpy");
  const Reply reply = session.call(Opcode::cuModuleGetFunction, look_up);
  CHECK_EQ(reply.header.result, 0);
  auto info = reply.reader();
  CHECK_EQ(info.text(), "saxpy");
  const auto attributes = info.array(4);
  CHECK_EQ(attributes.size(), 64u);
  CHECK_EQ(info.array(16).size(), 4u * 16);
  CHECK(info.ok() && info.remaining() == 0);
  constexpr uint32_t kCount = 10000;
  std::vector<float> x(kCount), y(kCount);
  for (uint32_t i = 0; i < kCount; ++i) x[i] = static_cast<float>(i), y[i] = 1.0f;
  const auto bytes = [](const std::vector<float>& values) {
    const auto* first = reinterpret_cast<const std::byte*>(values.data());
    return std::vector<std::byte>(first, first + values.size() * 4);
  };
  const uint64_t stream = session.make_stream(1, CU_STREAM_NON_BLOCKING);
  const uint64_t px = session.allocate(kCount * 4);
  const uint64_t py = session.allocate(kCount * 4);
  session.upload(px, bytes(x), stream);
  session.upload(py, bytes(y), stream);
  Payload launch(function, uint32_t{(kCount + 127) / 128}, 1u, 1u, 128u, 1u, 1u, 0u);
  launch.put(uint32_t{24});
  launch.put(px);
  launch.put(py);
  launch.put(2.0f);
  launch.put(kCount);
  for (int i = 0; i < 3; ++i) session.send(Opcode::cuLaunchKernel, launch, stream);
  const auto out = session.download(py, kCount * 4, stream);
  bool right = true;
  for (uint32_t i = 0; i < kCount; ++i) {
    float value = 0;
    std::memcpy(&value, out.data() + i * 4, 4);
    right = right && value == 1.0f + 6.0f * static_cast<float>(i);
  }
  CHECK(right);
  CHECK_EQ(session.server().session().statistics().launches.load(), 3u);
}

TEST(thousands_of_launches_do_not_stop_the_loop) {
  Session session;
  load_module(session, 1);
  const uint64_t function = id(wire::HandleKind::kFunction, 1);
  Payload look_up(id(wire::HandleKind::kModule, 1), function);
  look_up.text("saxpy");
  CHECK_EQ(session.result(Opcode::cuModuleGetFunction, look_up), CUDA_SUCCESS);
  const uint64_t stream = session.make_stream(1, CU_STREAM_NON_BLOCKING);
  const uint64_t memory = session.allocate(1024);
  session.upload(memory, std::vector<std::byte>(1024), stream);
  Payload launch(function, 1u, 1u, 1u, 32u, 1u, 1u, 0u, uint32_t{24}, memory, memory + 512, 1.0f,
                 32u);
  for (int i = 0; i < 5000; ++i) session.send(Opcode::cuLaunchKernel, launch, stream);
  // Another thread's call does not wait behind them.
  const auto start = std::chrono::steady_clock::now();
  CHECK_EQ(session.call(Opcode::cuMemGetInfo_v2).header.result, 0);
  CHECK_EQ(session.result(Opcode::cuStreamSynchronize, {}, stream), CUDA_SUCCESS);
  const auto took = std::chrono::steady_clock::now() - start;
  std::printf(
      "       5000 launches: %lld ms\n",
      static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
  CHECK_EQ(session.server().session().statistics().launches.load(), 5000u);
}

TEST(events_order_streams) {
  Session session;
  const uint64_t first = session.make_stream(1, CU_STREAM_NON_BLOCKING);
  const uint64_t second = session.make_stream(2, CU_STREAM_NON_BLOCKING);
  const uint64_t event = id(wire::HandleKind::kEvent, 1);
  const uint64_t other = id(wire::HandleKind::kEvent, 2);
  session.send(Opcode::cuEventCreate, Payload(event, 0u));
  session.send(Opcode::cuEventCreate, Payload(other, 0u));
  const uint64_t memory = session.allocate(1 << 20);
  session.send(Opcode::cuEventRecordWithFlags, Payload(other, 0u), first);
  session.upload(memory, std::vector<std::byte>(1 << 20, std::byte{1}), first);
  session.send(Opcode::cuEventRecordWithFlags, Payload(event, 0u), first);
  session.send(Opcode::cuStreamWaitEvent, Payload(event, 0u), second);
  const auto out = session.download(memory, 1 << 20, second);
  CHECK(out == std::vector<std::byte>(1 << 20, std::byte{1}));
  CHECK_EQ(session.result(Opcode::cuEventSynchronize, Payload(event)), CUDA_SUCCESS);
  CHECK_EQ(session.result(Opcode::cuEventQuery, Payload(event)), CUDA_SUCCESS);
  const Reply elapsed = session.call(Opcode::cuEventElapsedTime, Payload(other, event));
  CHECK_EQ(elapsed.header.result, 0);
  CHECK(elapsed.reader().get<float>() >= 0);
  session.send(Opcode::cuEventDestroy_v2, Payload(event));
  CHECK_EQ(session.result(Opcode::cuEventQuery, Payload(event)), CUDA_ERROR_INVALID_HANDLE);
  session.send(Opcode::cuStreamDestroy_v2, Payload(first), first);
  CHECK_EQ(session.result(Opcode::cuStreamQuery, {}, first), CUDA_ERROR_INVALID_HANDLE);
}

TEST(data_for_pinned_memory_lands_before_the_synchronize) {
  Session session;
  const uint64_t stream = session.make_stream(1, CU_STREAM_NON_BLOCKING);
  const uint64_t memory = session.allocate(3 << 20);
  const auto data = pattern(3 << 20, 9);
  for (const uint64_t on : {stream, uint64_t{0}}) {
    std::vector<std::byte> landed(data.size());
    session.upload(memory, data, on);
    const uint64_t transfer = session.link().expect_bulk(landed.data(), landed.size());
    session.send(Opcode::cuMemcpyDtoHAsync_v2, Payload(transfer, memory, uint64_t{landed.size()}),
                 on, wire::kHasBulk);
    CHECK_EQ(session.result(Opcode::cuStreamSynchronize, {}, on), CUDA_SUCCESS);
    CHECK(landed == data);
  }
}

TEST(the_quota_holds_and_frees_count_at_once) {
  Session session(1 << 20);
  const uint64_t all = session.allocate(1 << 20);
  CHECK_EQ(session.result(Opcode::cuMemAlloc_v2, Payload(uint64_t{1})), CUDA_ERROR_OUT_OF_MEMORY);
  const Reply left = session.call(Opcode::cuMemGetInfo_v2);
  auto info = left.reader();
  CHECK_EQ(info.get<uint64_t>(), 0u);
  CHECK_EQ(info.get<uint64_t>(), uint64_t{1} << 20);
  uint64_t last = all;
  for (int i = 0; i < 50; ++i) {  // the free is still under way when the next allocation comes
    session.send(Opcode::cuMemFree_v2, Payload(last));
    last = session.allocate((1 << 20) - 511);
  }
  session.send(Opcode::cuMemFree_v2, Payload(last));
  const Reply after = session.call(Opcode::cuMemGetInfo_v2);
  CHECK_EQ(after.reader().get<uint64_t>(), uint64_t{1} << 20);
  CHECK_EQ(session.result(Opcode::cuMemAlloc_v2, Payload(uint64_t{(1 << 20) + 1})),
           CUDA_ERROR_OUT_OF_MEMORY);
}

TEST(a_host_function_holds_its_stream_only) {
  Session session;
  const uint64_t stream = session.make_stream(1, CU_STREAM_NON_BLOCKING);
  const uint64_t memory = session.allocate(4096);
  session.send(Opcode::cuMemsetD8Async, Payload(memory, uint8_t{1}, uint64_t{4096}), stream);
  CHECK_EQ(session.result(Opcode::cuLaunchHostFunc, Payload(uint64_t{77}), stream), CUDA_SUCCESS);
  session.send(Opcode::cuMemsetD8Async, Payload(memory, uint8_t{2}, uint64_t{4096}), stream);
  CHECK_EQ(session.result(Opcode::cuStreamQuery, {}, stream), CUDA_ERROR_NOT_READY);
  const uint64_t other = session.make_stream(2, CU_STREAM_NON_BLOCKING);
  CHECK(session.download(memory, 1, other).at(0) == std::byte{1});
  session.send(Opcode::cuStreamAddCallback, Payload(uint64_t{77}));
  CHECK(session.download(memory, 1, stream).at(0) == std::byte{2});
}

TEST(a_late_failure_is_told_with_the_next_reply) {
  Session session;
  session.send(Opcode::cuEventRecordWithFlags, Payload(id(wire::HandleKind::kEvent, 9), 0u));
  const Reply reply = session.call(Opcode::cuMemGetInfo_v2);
  CHECK_EQ(reply.header.result, 0);
  CHECK_EQ(reply.header.late_error, static_cast<uint32_t>(CUDA_ERROR_INVALID_HANDLE));
  CHECK_EQ(reply.header.late_call, static_cast<uint64_t>(Opcode::cuEventRecordWithFlags));
  CHECK_EQ(session.call(Opcode::cuMemGetInfo_v2).header.late_error, 0u);
  CHECK_EQ(session.server().session().statistics().late_errors.load(), 1u);
}

TEST(an_unknown_call_is_refused) {
  Session session;
  CHECK_EQ(session.result(static_cast<Opcode>(0xfffe)), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(session.result(Opcode::cuCtxSynchronize), CUDA_SUCCESS);
}

TEST(a_context_can_be_reset_and_used_again) {
  Session session;
  const uint64_t stream = session.make_stream(1);
  session.upload(session.allocate(1 << 20), pattern(1 << 20, 1), stream);
  CHECK_EQ(session.result(Opcode::cuDevicePrimaryCtxReset_v2, Payload(uint32_t{0})), CUDA_SUCCESS);
  CHECK_EQ(session.result(Opcode::cuStreamQuery, {}, stream), CUDA_ERROR_INVALID_HANDLE);
  session.send(Opcode::cuDevicePrimaryCtxRetain, Payload(uint32_t{0}, kContext));
  const auto data = pattern(70000, 2);
  const uint64_t memory = session.allocate(70000);
  session.upload(memory, data);
  CHECK(session.download(memory, 70000) == data);
}

TEST(a_captured_graph_replays) {
  Session session;
  const uint64_t stream = session.make_stream(1, CU_STREAM_NON_BLOCKING);
  const uint64_t memory = session.allocate(4096);
  const uint64_t exec = id(wire::HandleKind::kGraphExec, 1);
  session.send(Opcode::cuStreamBeginCapture_v2, Payload(2u), stream);
  session.send(Opcode::cuMemsetD8Async, Payload(memory, uint8_t{7}, uint64_t{4096}), stream);
  const Reply end =
      session.call(Opcode::cuStreamEndCapture, Payload(id(wire::HandleKind::kGraph, 1)), stream);
  CHECK_EQ(end.header.result, 0);
  const auto graph = end.reader().get<uint64_t>();
  CHECK_EQ(graph, id(wire::HandleKind::kGraph, 1));
  const Reply shown = session.call(Opcode::cuGraphGetNodes,
                                   Payload(graph, id(wire::HandleKind::kGraphNode, 1), 10u));
  auto nodes = shown.reader();
  CHECK_EQ(nodes.get<uint64_t>(), 1u);
  CHECK_EQ(nodes.get<uint32_t>(), 1u);
  CHECK_EQ(session.result(Opcode::cuGraphInstantiateWithFlags, Payload(exec, graph, uint64_t{0})),
           CUDA_SUCCESS);
  session.send(Opcode::cuMemsetD8Async, Payload(memory, uint8_t{1}, uint64_t{4096}), stream);
  session.send(Opcode::cuGraphLaunch, Payload(exec), stream);
  CHECK(session.download(memory, 1, stream).at(0) == std::byte{7});
  session.send(Opcode::cuGraphExecDestroy, Payload(exec));
  session.send(Opcode::cuGraphDestroy, Payload(graph));
  CHECK_EQ(session.result(Opcode::cuCtxSynchronize), CUDA_SUCCESS);
}

// Every call, with payloads cut short at every length and filled with noise: an error each time,
// and a session that still works.
TEST(noise_does_not_hurt) {
  Session session;
  std::mt19937_64 random(4);
  for (const vgpu::CallInfo& call : vgpu::kCalls) {
    // These wait for what does not come.
    if (call.opcode == Opcode::cuLaunchHostFunc || call.opcode == Opcode::cuStreamAddCallback) {
      continue;
    }
    if (!call.on_wire) continue;
    for (size_t size = 0; size < 96; size += 1 + size / 8) {
      wire::Writer payload;
      while (payload.size() < size) {
        const uint64_t word = random();
        payload.put(static_cast<uint8_t>((word & 3) == 0 ? word >> 8 : 0));
      }
      const Reply reply = session.call(call.opcode, payload);
      CHECK(reply.delivered);
      if (!reply.delivered) {
        std::fprintf(stderr, "%s with %zu bytes: %s\n", call.name, size, reply.error.c_str());
        return;
      }
    }
  }
  session.send(Opcode::cuDevicePrimaryCtxRetain, Payload(uint32_t{0}, kContext));
  const uint64_t memory = session.allocate(100);
  const auto data = pattern(100, 3);
  session.upload(memory, data);
  CHECK(session.download(memory, 100) == data);
}
