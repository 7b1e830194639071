// The links over the in-process channel: order, bulk data both ways at once, silence. Runs under
// the thread sanitizer too.
#include "transport_behaviours.h"

namespace {

using namespace echo;

struct InprocPair {
  std::string error;
  Server server;
  std::unique_ptr<ClientLink> client;

  explicit InprocPair(ClientLinkOptions options = {}, ServerLinkOptions server_options = {})
      : InprocPair(vgpu::transport::make_inproc_pair(), std::move(options), server_options) {}

 private:
  InprocPair(std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> ends,
             ClientLinkOptions options, ServerLinkOptions server_options)
      : server(std::move(ends.second), server_options),
        client(ClientLink::open(std::move(ends.first), std::move(options), error)) {}
};

}  // namespace

TEST(inproc_echo) {
  InprocPair pair;
  CHECK(pair.client != nullptr);
  echoes(*pair.client);
  pair.client->close(2000);
  CHECK(eventually([&] { return pair.server.ended.load(); }));
  CHECK(pair.server.clean);
}

TEST(inproc_order) {
  InprocPair pair;
  keeps_order(*pair.client);
}

TEST(inproc_bulk) {
  InprocPair pair;
  moves_bulk_both_ways(*pair.client, 50u << 20, 3);
}

TEST(silent_peer_is_given_up) {
  auto ends = vgpu::transport::make_inproc_pair();
  ServerLinkOptions patient;
  Server server(std::move(ends.second), patient);
  ClientLinkOptions options;
  options.silence_timeout_ms = 300;
  std::string reason;
  options.on_lost = [&reason](const std::string& why) { reason = why; };
  std::string error;
  auto client = ClientLink::open(std::move(ends.first), options, error);
  CHECK(client != nullptr);
  server.freeze(true);
  CHECK(contains(call(*client, kEcho, 1).error, "no sign of life"));
  server.freeze(false);
  client.reset();
  CHECK(contains(reason, "no sign of life"));
}

TEST(output_comes_before_the_reply) {
  std::string said;
  ClientLinkOptions options;
  options.on_output = [&said](uint32_t stream, std::string_view text) {
    said += std::to_string(stream) + ":" + std::string(text) + ";";
  };
  InprocPair pair(options);
  for (const char c : {'a', 'b', 'c'}) CHECK(call(*pair.client, kSay, c).delivered);
  CHECK_EQ(said, "2:a;2:b;2:c;");
}
