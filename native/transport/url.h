// Addresses: tcp://host:port, ipc:///path, inproc://anything.
#pragma once

#include <string>
#include <string_view>

namespace vgpu::transport {

struct Url {
  enum class Scheme { kTcp, kIpc, kInproc };
  Scheme scheme = Scheme::kTcp;
  std::string host;  // tcp: without the brackets of an IPv6 address; "*" is every interface
  int port = 0;      // tcp: 0 asks for a free port
  std::string path;  // ipc and inproc: what follows "//"

  [[nodiscard]] bool is_ipv6() const { return host.find(':') != std::string::npos; }
  [[nodiscard]] std::string text() const;
};

// False with `error` saying what is wrong and what a good address looks like.
bool parse_url(std::string_view text, Url& url, std::string& error);

// `url` with its host replaced, if that host is "*": an executor names its port, the client knows
// under which host it reached the worker.
std::string with_host(const std::string& url, const std::string& reached_under);

}  // namespace vgpu::transport
