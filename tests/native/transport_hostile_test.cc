// What a broken or hostile peer may send: every prefix of every kind of frame, and mutations of
// valid ones. The link ends with a reason or goes on; it never crashes, and never writes out of
// bounds.
#include <random>

#include "check.h"
#include "transport/frame.h"
#include "transport_echo.h"

namespace {

using namespace echo;
using namespace vgpu::transport;
using vgpu::wire::RecordHeader;
using vgpu::wire::ReplyHeader;

using Bytes = std::vector<std::byte>;

FrameHeader header(FrameKind kind, uint64_t number = 0) {
  return {kFrameMagic, kind, 0, 0, number, 0, 0};
}

Bytes hello(Lane lane) {
  HelloBody body{};
  body.major = vgpu::wire::kMajor;
  body.lane = static_cast<uint8_t>(lane);
  body.command_window = body.bulk_window = 1 << 20;
  return encode(header(FrameKind::kHello), {bytes_of(body)});
}
Bytes welcome() {
  const WelcomeBody body{vgpu::wire::kMajor, 0, 0, 1 << 20, 1 << 20, 1 << 20, 1 << 20};
  return encode(header(FrameKind::kWelcome), {bytes_of(body)});
}
Bytes batch(uint64_t number) {
  RecordHeader record{};
  const uint64_t payload = 7;
  record.size = sizeof record + sizeof payload;
  record.opcode = kEcho;
  return encode(header(FrameKind::kBatch, number),
                {bytes_of(record), bytes_of(payload), bytes_of(record), bytes_of(payload)});
}
Bytes replies(uint64_t number, uint32_t call) {
  ReplyHeader reply{};
  const uint64_t payload = 7;
  reply.size = sizeof reply + sizeof payload;
  reply.call = call;
  return encode(header(FrameKind::kReplies, number), {bytes_of(reply), bytes_of(payload)});
}
Bytes chunk(uint64_t number, uint64_t transfer, uint64_t total, uint64_t offset, size_t size) {
  const ChunkBody body{transfer, total, offset};
  return encode(header(FrameKind::kBulkChunk, number), {bytes_of(body), Bytes(size)});
}
Bytes goodbye() {
  return encode(header(FrameKind::kGoodbye), {bytes_of(GoodbyeBody{0}), bytes_of("end")});
}

std::vector<Bytes> every_kind() {
  return {hello(Lane::kCommand),
          welcome(),
          encode(header(FrameKind::kRefuse), {bytes_of("no")}),
          batch(1),
          replies(1, 1),
          chunk(1, 1, 100, 0, 100),
          encode(header(FrameKind::kAcknowledgement)),
          encode(header(FrameKind::kIdle)),
          encode(header(FrameKind::kHeartbeat)),
          goodbye()};
}

// A server end on this thread, after a good hello, with a raw client end.
struct RawClient {
  std::unique_ptr<Channel> channel;
  std::unique_ptr<ServerLink> server;
  std::map<uint64_t, Bytes> uploads;
  uint64_t commands = 0;
  std::string ended;

  explicit RawClient(bool greet = true) {
    auto ends = make_inproc_pair();
    channel = std::move(ends.first);
    ServerLinkEvents events;
    events.on_command = [this](Command) { ++commands; };
    events.allocate_bulk = [this](uint64_t transfer, uint64_t size) -> std::byte* {
      if (size > 1 << 20) return nullptr;
      uploads[transfer].resize(size + 1);
      return uploads[transfer].data();
    };
    events.on_end = [this](const std::string& reason, bool) { ended = reason; };
    server = ServerLink::create(std::move(ends.second), {}, std::move(events));
    if (!greet) return;
    send(Lane::kCommand, hello(Lane::kCommand));
    send(Lane::kBulk, hello(Lane::kBulk));
  }
  void send(Lane lane, Bytes bytes) {
    channel->send(lane, Frame::own(std::move(bytes)));
    server->turn(0);
  }
};

// A client end whose server is this test; `script` runs after a good welcome.
template <typename Script>
Reply with_raw_server(Script script) {
  auto ends = make_inproc_pair();
  Channel* server = ends.second.get();
  std::thread peer([&] {
    server->send(Lane::kCommand, Frame::own(welcome()));
    server->send(Lane::kBulk, Frame::own(welcome()));
    // The first batch is the call of below.
    bool called = false;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!called && std::chrono::steady_clock::now() < end) {
      server->wait(10);
      while (auto frame = server->receive(Lane::kCommand)) {
        Decoded decoded;
        std::string error;
        CHECK(decode({frame->data, frame->size}, decoded, error));
        called = called || decoded.header.kind == FrameKind::kBatch;
      }
    }
    script(*server);
    server->close(0);
  });
  std::string error;
  auto client = ClientLink::open(std::move(ends.first), {}, error);
  CHECK(client != nullptr);
  std::vector<std::byte> landing(100);
  client->expect_bulk(landing.data(), landing.size());
  Reply reply = call(*client, kEcho, 1);
  client.reset();
  peer.join();
  return reply;
}

}  // namespace

TEST(every_kind_decodes_and_no_prefix_of_a_fixed_part_does) {
  for (const Bytes& whole : every_kind()) {
    Decoded decoded;
    std::string error;
    CHECK(decode(whole, decoded, error));
    size_t fixed = sizeof(FrameHeader);
    if (decoded.header.kind == FrameKind::kHello) fixed += sizeof(HelloBody);
    if (decoded.header.kind == FrameKind::kWelcome) fixed += sizeof(WelcomeBody);
    if (decoded.header.kind == FrameKind::kBulkChunk) fixed += sizeof(ChunkBody);
    if (decoded.header.kind == FrameKind::kGoodbye) fixed += sizeof(GoodbyeBody);
    for (size_t size = 0; size < whole.size(); ++size) {
      Bytes exact(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
      const bool valid = decode(exact, decoded, error);
      CHECK_EQ(valid, size >= fixed);
      if (valid && decoded.header.kind == FrameKind::kBatch) {
        CHECK_EQ(check_records(decoded.body), (size - fixed) % 40 == 0);
      }
      if (valid && decoded.header.kind == FrameKind::kReplies) {
        CHECK_EQ(check_replies(decoded.body), (size - fixed) % 40 == 0);
      }
    }
  }
}

TEST(server_survives_every_prefix) {
  for (const Bytes& whole : every_kind()) {
    for (size_t size = 0; size < whole.size(); ++size) {
      for (Lane lane : {Lane::kCommand, Lane::kBulk}) {
        RawClient client;
        client.send(lane, Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)));
        client.server->turn(0);
        if (size < sizeof(FrameHeader)) CHECK(client.ended.starts_with("the client sent"));
      }
    }
  }
}

TEST(server_drops_garbage_before_hello_and_still_serves) {
  RawClient client(false);
  for (const Bytes& whole : every_kind()) {
    if (whole[4] == std::byte{1}) continue;  // hello
    client.send(Lane::kCommand, whole);
    client.send(Lane::kBulk, Bytes(whole.begin(), whole.begin() + 9));
  }
  CHECK_EQ(client.ended, "");
  client.send(Lane::kCommand, hello(Lane::kCommand));
  client.send(Lane::kBulk, hello(Lane::kBulk));
  client.send(Lane::kCommand, batch(1));
  CHECK_EQ(client.commands, 2u);
}

TEST(server_survives_mutations) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 4000; ++i) {
    RawClient client;
    for (int n = 1; n <= 4 && client.ended.empty(); ++n) {
      auto kinds = every_kind();
      Bytes bytes = kinds[random() % kinds.size()];
      for (unsigned m = random() % 4; m > 0; --m) {
        const size_t at = random() % bytes.size();
        bytes[at] = random() % 2 ? static_cast<std::byte>(random()) : std::byte{0xff};
      }
      client.send(random() % 2 ? Lane::kCommand : Lane::kBulk, std::move(bytes));
    }
  }
}

TEST(server_names_what_is_wrong) {
  auto reason = [](Lane lane, Bytes bytes) {
    RawClient client;
    client.send(lane, std::move(bytes));
    return client.ended;
  };
  CHECK_EQ(reason(Lane::kCommand, batch(2)),
           "the client sent frame 2 follows frame 0: frames were lost");
  CHECK_EQ(reason(Lane::kBulk, batch(1)), "the client sent a batch frame where none may come");
  CHECK_EQ(reason(Lane::kCommand, replies(1, 1)),
           "the client sent a replies frame where none may come");
  CHECK_EQ(reason(Lane::kBulk, chunk(1, 1, 100, 5, 10)),
           "the client sent a bulk chunk of a transfer that did not begin");
  CHECK(reason(Lane::kBulk, chunk(1, 1, uint64_t{1} << 60, 0, 10)).find("no memory") !=
        std::string::npos);
  CHECK(reason(Lane::kBulk, chunk(1, 1, 9, 0, 10)).find("malformed frame") != std::string::npos);
  Bytes early = batch(1);
  early[16] = std::byte{9};  // acknowledges what was never sent
  CHECK(reason(Lane::kCommand, early).find("acknowledges frame 9") != std::string::npos);
}

TEST(client_survives_every_prefix_and_names_the_peer) {
  for (const Bytes& whole : every_kind()) {
    for (size_t size = 0; size <= whole.size(); size += size < 40 ? 7 : 13) {
      for (Lane lane : {Lane::kCommand, Lane::kBulk}) {
        Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
        const Reply reply = with_raw_server(
            [&](Channel& server) { server.send(lane, Frame::own(std::move(cut))); });
        CHECK(reply.delivered || !reply.error.empty());
      }
    }
  }
}

TEST(client_survives_mutations) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 1000; ++i) {
    const Reply reply = with_raw_server([&](Channel& server) {
      auto kinds = every_kind();
      for (int n = 0; n < 4; ++n) {
        Bytes bytes = kinds[random() % kinds.size()];
        for (unsigned m = random() % 3; m > 0; --m) {
          bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        }
        server.send(random() % 2 ? Lane::kCommand : Lane::kBulk, Frame::own(std::move(bytes)));
      }
    });
    CHECK(reply.delivered || !reply.error.empty());
  }
}

TEST(client_refuses_chunks_that_do_not_fit) {
  auto error = [](Bytes bytes) {
    return with_raw_server(
               [&](Channel& server) { server.send(Lane::kBulk, Frame::own(std::move(bytes))); })
        .error;
  };
  CHECK(error(chunk(1, 1, 101, 0, 101)).find("was not expected") != std::string::npos);
  CHECK(error(chunk(1, 2, 10, 0, 10)).find("was not expected") != std::string::npos);
  CHECK(error(chunk(1, 1, 100, 50, 50)).find("was not expected") != std::string::npos);
}

TEST(a_client_of_protocol_1_0_gets_no_output) {
  RawClient client;
  CHECK(!client.server->output(1, "printed"));
  CHECK_EQ(client.ended, "");
}
