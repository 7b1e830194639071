// Why a connection did not come to be. libzmq retries in silence; when it has failed, a plain
// socket asks the peer for its ZMTP greeting and names the reason.
#pragma once

#include <string>

namespace vgpu::transport {

// One sentence that names `url` and the next step. `peer` is what should be there ("a vgpu
// worker"). Takes at most `limit_ms`.
std::string explain_failure(const std::string& url, const std::string& peer, bool encrypted,
                            int limit_ms);

// The explanation when the peer answers but the CURVE handshake was cut off or refused.
std::string explain_curve(const std::string& url, const std::string& peer);

}  // namespace vgpu::transport
