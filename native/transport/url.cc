#include "transport/url.h"

#include <charconv>

namespace vgpu::transport {
namespace {

// sockaddr_un::sun_path holds 107 characters and a zero.
constexpr size_t kMaxIpcPath = 107;

bool fail(std::string_view text, const std::string& problem, std::string& error) {
  error = "bad address '" + std::string(text) + "': " + problem +
          "; an address looks like tcp://host:port or ipc:///path";
  return false;
}

bool parse_port(std::string_view text, int& port) {
  if (text == "*") {
    port = 0;
    return true;
  }
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), port);
  return problem == std::errc() && end == text.data() + text.size() && !text.empty() && port >= 0 &&
         port <= 65535;
}

bool parse_tcp(std::string_view text, std::string_view rest, Url& url, std::string& error) {
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || rest.ends_with(']')) {
    return fail(text, "the port is missing", error);
  }
  if (!parse_port(rest.substr(colon + 1), url.port)) {
    return fail(text, "the port is not a number from 0 to 65535", error);
  }
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return fail(text, "an IPv6 address needs brackets, as in tcp://[::1]:port", error);
  }
  if (host.empty()) return fail(text, "the host is missing", error);
  url.host = host;
  return true;
}

}  // namespace

std::string Url::text() const {
  if (scheme == Scheme::kIpc) return "ipc://" + path;
  if (scheme == Scheme::kInproc) return "inproc://" + path;
  const std::string shown = is_ipv6() ? "[" + host + "]" : host;
  return "tcp://" + shown + ":" + std::to_string(port);
}

bool parse_url(std::string_view text, Url& url, std::string& error) {
  const size_t split = text.find("://");
  if (split == std::string_view::npos) return fail(text, "it has no scheme", error);
  const std::string_view scheme = text.substr(0, split);
  const std::string_view rest = text.substr(split + 3);
  url = {};
  if (scheme == "tcp") return parse_tcp(text, rest, url, error);
  url.path = rest;
  if (scheme == "ipc") {
    url.scheme = Url::Scheme::kIpc;
    if (rest.empty()) return fail(text, "the path is missing", error);
    if (rest.size() > kMaxIpcPath) {
      return fail(text, "the path of a socket has at most 107 characters", error);
    }
    return true;
  }
  if (scheme == "inproc") {
    url.scheme = Url::Scheme::kInproc;
    return true;
  }
  return fail(text, "the scheme '" + std::string(scheme) + "' is unknown", error);
}

std::string with_host(const std::string& url, const std::string& reached_under) {
  Url parsed;
  Url reached;
  std::string error;
  if (!parse_url(url, parsed, error) || !parse_url(reached_under, reached, error)) return url;
  if (parsed.scheme != Url::Scheme::kTcp || parsed.host != "*") return url;
  if (reached.scheme != Url::Scheme::kTcp) reached.host = "127.0.0.1";
  parsed.host = reached.host;
  return parsed.text();
}

}  // namespace vgpu::transport
