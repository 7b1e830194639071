#include "transport/server_session.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

namespace vgpu::transport {
namespace {

constexpr int kFramesPerTurn = 64;
constexpr int kChunksPerTurn = 4;
constexpr uint64_t kAcknowledgeEvery = 256;
// The client waits for the answer to its goodbye.
constexpr int kGoodbyeLinger = 100;
// A replies frame leaves at the latest at this size.
constexpr size_t kRepliesFull = 64u << 10;
// Transfers whose first chunk has come but not the last: one per client thread that is sending.
constexpr size_t kMaxOpenUploads = 4096;

}  // namespace

void CommandCredit::wake_at(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  wake_at_ = bytes;
}

void CommandCredit::release(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  released_ += bytes;
  if (released_ >= wake_at_ && channel_ != nullptr) channel_->wake();
}

uint64_t CommandCredit::collect() {
  std::lock_guard lock(mutex_);
  return std::exchange(released_, 0);
}

void CommandCredit::detach() {
  std::lock_guard lock(mutex_);
  channel_ = nullptr;
}

ServerSession::ServerSession(std::unique_ptr<Channel> channel, ServerLinkOptions options,
                             ServerLinkEvents events)
    : channel_(std::move(channel)),
      options_(options),
      events_(std::move(events)),
      lanes_{LaneEnd(options.silence_timeout_ms), LaneEnd(options.silence_timeout_ms)},
      pool_(BufferPool::make(kChunkPrefix + options.chunk_bytes,
                             options.bulk_window / options.chunk_bytes + 2)) {
  credit_ = std::make_shared<CommandCredit>(channel_.get());
}

ServerSession::~ServerSession() { credit_->detach(); }

void ServerSession::turn(int timeout_ms) {
  if (ended_ || pump() || ended_) return;
  const int beat = lanes_[0].liveness.interval_ms();
  channel_->wait(timeout_ms < 0 ? beat : std::min(timeout_ms, beat));
  pump();
}

bool ServerSession::pump() {
  bool busy = receive(Lane::kCommand);
  busy = receive(Lane::kBulk) || busy;
  busy = dispatch_batches() || busy;
  if (!ended_) check_goodbye();
  if (ended_) return busy;
  flush_replies();
  busy = send_downloads() || busy;
  send_reports();
  check_time();
  return busy;
}

bool ServerSession::receive(Lane which) {
  int taken = which == Lane::kBulk && retry_held() ? 1 : 0;
  while (taken < kFramesPerTurn && !ended_) {
    if (which == Lane::kBulk && held_.data != nullptr) break;
    auto frame = channel_->receive(which);
    if (!frame) break;
    ++taken;
    handle(which, *frame);
  }
  return taken > 0;
}

void ServerSession::handle(Lane which, const Frame& frame) {
  LaneEnd& from = lane(which);
  Decoded decoded;
  std::string error;
  const bool valid = decode({frame.data, frame.size}, decoded, error);
  if (!from.greeted) {
    if (!valid) {
      channel_->drop_peer(which);  // whatever this is, it may not keep the client out
    } else if (greet(which, decoded)) {
      from.liveness.heard();
    }
    return;
  }
  from.liveness.heard();
  if (!valid || !from.state.accept(decoded.header, error) ||
      !handle_kind(which, decoded, frame, error)) {
    if (ended_) return;
    const std::string reason = "the client sent " + error;
    send_control(which, FrameKind::kRefuse, {}, reason);
    end(reason, false);
    return;
  }
  if (decoded.header.credit > from.sent) {
    end("the client reports bytes that were never sent to it", false);
  }
  from.peer_consumed = std::max(from.peer_consumed, decoded.header.credit);
}

bool ServerSession::greet(Lane which, const Decoded& frame) {
  const HelloBody& hello = frame.hello;
  if (frame.header.kind != FrameKind::kHello) {
    refuse(which, "the session must begin with hello");
    return false;
  }
  if (hello.major != wire::kMajor) {
    refuse(which, "this executor speaks protocol " + std::to_string(wire::kMajor) + "." +
                      std::to_string(wire::kMinor) + ", the client " + std::to_string(hello.major) +
                      "." + std::to_string(hello.minor) +
                      ": install the same major version on both sides");
    return false;
  }
  // The token is a secret: the time of the comparison says nothing about where it differs.
  unsigned difference = 0;
  for (size_t i = 0; i < options_.token.size(); ++i) {
    difference |= std::to_integer<unsigned>(hello.token[i] ^ options_.token[i]);
  }
  if (difference != 0 || hello.lane != static_cast<uint8_t>(which)) {
    refuse(which, difference != 0 ? "wrong session token: attach through the worker's control port"
                                  : "hello for the other lane: command and bulk are swapped");
    return false;
  }
  LaneEnd& from = lane(which);
  from.greeted = true;
  const bool command = which == Lane::kCommand;
  from.window = std::min(command ? hello.command_window : hello.bulk_window,
                         command ? options_.max_command_window : options_.max_bulk_window);
  if (command) credit_->wake_at(from.window / 8);
  minor_ = std::min(wire::kMinor, hello.minor);
  const WelcomeBody welcome{wire::kMajor,
                            minor_,
                            0,
                            command ? from.window : 0,
                            command ? 0 : from.window,
                            options_.reply_window,
                            options_.bulk_window};
  send_control(which, FrameKind::kWelcome, bytes_of(welcome));
  if (lanes_[0].greeted && lanes_[1].greeted) {
    ready_ = true;
    lanes_[0].liveness.heard();
    lanes_[1].liveness.heard();
    if (events_.on_ready) events_.on_ready();
  }
  return true;
}

void ServerSession::refuse(Lane which, const std::string& why) {
  send_control(which, FrameKind::kRefuse, {}, why);
  channel_->drop_peer(which);
}

bool ServerSession::handle_kind(Lane which, const Decoded& frame, const Frame& raw,
                                std::string& error) {
  const bool command = which == Lane::kCommand;
  switch (frame.header.kind) {
    case FrameKind::kAcknowledgement:
    case FrameKind::kHeartbeat:
      return true;
    case FrameKind::kBatch:
      if (command && ready_) return take_batch(frame, raw, error);
      break;
    case FrameKind::kBulkChunk:
      if (!command && ready_) return take_chunk(frame, raw, error);
      break;
    case FrameKind::kGoodbye:
      goodbye_ = true;
      goodbye_bulk_ = frame.goodbye.bulk_through;
      return true;
    default:
      break;
  }
  error = "a " + std::string(name(frame.header.kind)) + " frame where none may come";
  return false;
}

bool ServerSession::check_window(LaneEnd& lane, size_t bytes, std::string& error) {
  lane.received += bytes;
  // One frame per sending thread may overshoot the window.
  if (lane.received - lane.state.consumed() <= lane.window + kMaxChunk * 16) return true;
  error = "more than its window of " + std::to_string(lane.window) + " bytes";
  return false;
}

bool ServerSession::take_batch(const Decoded& frame, const Frame& raw, std::string& error) {
  if (!check_records(frame.body)) {
    error = "a malformed record in batch " + std::to_string(frame.header.number);
    return false;
  }
  LaneEnd& from = lane(Lane::kCommand);
  from.state.consume(credit_->collect());
  if (!check_window(from, frame.body.size(), error)) return false;
  batches_.push_back(raw);
  return true;
}

// Decodes what has come, unless the client does not take its replies: then batches wait, the client
// gets no credit for them, and memory stays bounded.
bool ServerSession::dispatch_batches() {
  bool busy = false;
  while (!batches_.empty() && !ended_ && lane(Lane::kCommand).in_flight() < options_.reply_window) {
    Frame raw = std::move(batches_.front());
    batches_.pop_front();
    dispatch(raw);
    busy = true;
  }
  return busy;
}

void ServerSession::dispatch(const Frame& raw) {
  const auto body = std::span(raw.data, raw.size).subspan(sizeof(FrameHeader));
  // Credit returns with the last record that still needs these bytes.
  struct Held {
    std::shared_ptr<const void> owner;
    std::shared_ptr<CommandCredit> credit;
    uint64_t bytes;
    ~Held() { credit->release(bytes); }
  };
  auto held = std::make_shared<Held>(raw.owner, credit_, body.size());
  RecordSequence sequence(body);
  Command command;
  while (!ended_ && sequence.next(command.header, command.payload, wire::kMaxRecord)) {
    command.frame = held;
    events_.on_command(std::move(command));
  }
}

bool ServerSession::start_upload(const ChunkBody& chunk, std::string& error) {
  // Threads number their transfers before they send, so first chunks may come out of order.
  if (chunk.offset != 0 || chunk.transfer == 0) {
    error = "a bulk chunk of a transfer that did not begin";
    return false;
  }
  if (uploads_.size() >= kMaxOpenUploads) {
    error = "too many bulk transfers at once";
    return false;
  }
  std::byte* data = nullptr;
  try {
    if (events_.allocate_bulk) data = events_.allocate_bulk(chunk.transfer, chunk.total);
  } catch (const std::exception&) {  // std::bad_alloc, std::length_error: the size is the client's
  }
  if (data == nullptr) {
    error = "a bulk transfer of " + std::to_string(chunk.total) +
            " bytes for which the executor's host has no memory";
    return false;
  }
  uploads_.emplace(chunk.transfer, Upload{data, chunk.total, 0});
  return true;
}

bool ServerSession::take_chunk(const Decoded& frame, const Frame& raw, std::string& error) {
  if (!check_window(lane(Lane::kBulk), frame.body.size(), error)) return false;
  const bool known = uploads_.contains(frame.chunk.transfer);
  if (!known && events_.admit_bulk && !events_.admit_bulk(frame.chunk.total)) {
    held_ = raw;
    return true;
  }
  return fill_upload(frame, error);
}

// True when a held chunk could be taken in.
bool ServerSession::retry_held() {
  if (held_.data == nullptr || ended_) return false;
  Decoded decoded;
  std::string error;
  if (decode({held_.data, held_.size}, decoded, error)) {
    if (!events_.admit_bulk(decoded.chunk.total)) return false;
    lane(Lane::kBulk).liveness.heard();
    if (fill_upload(decoded, error)) {
      held_ = {};
      return true;
    }
  }
  end("the client sent " + error, false);
  return false;
}

bool ServerSession::fill_upload(const Decoded& frame, std::string& error) {
  const ChunkBody& chunk = frame.chunk;
  LaneEnd& from = lane(Lane::kBulk);
  auto found = uploads_.find(chunk.transfer);
  if (found == uploads_.end()) {
    if (!start_upload(chunk, error)) return false;
    found = uploads_.find(chunk.transfer);
  }
  Upload& upload = found->second;
  if (chunk.total != upload.size || chunk.offset != upload.filled) {
    error = "a bulk chunk out of order";
    return false;
  }
  if (!frame.body.empty()) {
    std::memcpy(upload.data + chunk.offset, frame.body.data(), frame.body.size());
  }
  upload.filled += frame.body.size();
  from.state.consume(frame.body.size());
  if (upload.filled == upload.size) {
    uploads_.erase(found);
    if (events_.on_bulk) events_.on_bulk(chunk.transfer);
  }
  return true;
}

void ServerSession::reply(wire::ReplyHeader header, std::span<const std::byte> payload) {
  if (ended_) return;
  header.size = static_cast<uint32_t>(sizeof header + payload.size());
  if (replies_.empty()) replies_.resize(sizeof(FrameHeader));
  auto put = [this](std::span<const std::byte> bytes) {
    replies_.insert(replies_.end(), bytes.begin(), bytes.end());
  };
  put(bytes_of(header));
  put(payload);
  replies_.resize(replies_.size() + wire::padded(header.size) - header.size);
  if (replies_.size() >= kRepliesFull) flush_replies();
}

bool ServerSession::output(uint32_t stream, std::string_view text) {
  if (minor_ < wire::kOutputSince) return false;
  wire::ReplyHeader header{};
  header.call = wire::kOutputCall;
  header.result = static_cast<int32_t>(stream);
  reply(header, bytes_of(text));
  return true;
}

void ServerSession::flush_replies() {
  LaneEnd& to = lane(Lane::kCommand);
  if (ended_ || !to.greeted) return;
  const uint16_t flags = idle_pending_ ? kIdleFlag : 0;
  if (replies_.empty()) {
    if (!idle_pending_) return;
    idle_pending_ = false;
    to.state.consume(credit_->collect());
    to.liveness.spoke();
    channel_->send(Lane::kCommand,
                   Frame::own(encode(to.state.next_header(FrameKind::kIdle, flags))));
    return;
  }
  idle_pending_ = false;
  to.state.consume(credit_->collect());
  const FrameHeader header = to.state.next_header(FrameKind::kReplies, flags);
  std::memcpy(replies_.data(), &header, sizeof header);
  const size_t bytes = replies_.size() - sizeof header;
  send_numbered(Lane::kCommand, header.number, Frame::own(std::exchange(replies_, {})), bytes);
}

void ServerSession::report_idle() {
  const uint64_t received = lane(Lane::kCommand).state.received();
  if (ended_ || !batches_.empty() || received == idle_reported_) return;
  idle_reported_ = received;
  idle_pending_ = true;
  flush_replies();
}

void ServerSession::send_bulk(uint64_t transfer, std::shared_ptr<const void> owner,
                              const std::byte* data, uint64_t size) {
  ++downloads_given_;
  if (ended_) return;
  downloads_.push_back({transfer, std::move(owner), data, size, 0});
  send_downloads();
}

bool ServerSession::send_downloads() {
  LaneEnd& to = lane(Lane::kBulk);
  int sent = 0;
  while (!downloads_.empty() && sent < kChunksPerTurn && to.in_flight() < options_.bulk_window &&
         to.greeted && !ended_) {
    Download& from = downloads_.front();
    const uint64_t size = std::min<uint64_t>(options_.chunk_bytes, from.size - from.offset);
    const Chunk chunk = make_chunk(*pool_, {from.transfer, from.size, from.offset},
                                   {from.data + from.offset, static_cast<size_t>(size)});
    const FrameHeader header = to.state.next_header(FrameKind::kBulkChunk);
    send_numbered(Lane::kBulk, header.number, chunk_frame(chunk, header), size);
    from.offset += size;
    if (from.offset == from.size) downloads_.pop_front();
    ++sent;
  }
  return sent > 0;
}

void ServerSession::send_reports() {
  LaneEnd& command = lane(Lane::kCommand);
  command.state.consume(credit_->collect());
  for (Lane which : {Lane::kCommand, Lane::kBulk}) {
    const LaneEnd& end = lane(which);
    if (!end.greeted) continue;
    if (end.state.unreported() > end.window / 4 ||
        end.state.unacknowledged() >= kAcknowledgeEvery) {
      send_control(which, FrameKind::kAcknowledgement);
    }
  }
}

void ServerSession::send_control(Lane which, FrameKind kind, std::span<const std::byte> body,
                                 std::string_view text) {
  lane(which).liveness.spoke();
  channel_->send(which,
                 Frame::own(encode(lane(which).state.next_header(kind), {body, bytes_of(text)})));
}

void ServerSession::send_numbered(Lane which, uint64_t number, Frame frame, size_t bytes) {
  LaneEnd& to = lane(which);
  to.liveness.spoke();
  to.sent += bytes;
  to.state.keep(number, frame);
  channel_->send(which, std::move(frame));
}

// The end comes when the bulk data that was sent before the goodbye has arrived too.
void ServerSession::check_goodbye() {
  if (!goodbye_ || !batches_.empty() || lane(Lane::kBulk).state.received() < goodbye_bulk_) return;
  flush_replies();
  send_control(Lane::kCommand, FrameKind::kGoodbye, bytes_of(GoodbyeBody{}), "as you asked");
  end("the client said goodbye", true);
}

void ServerSession::check_time() {
  if (ended_) return;
  if (channel_->state() == ChannelState::kDown) {
    end(channel_->reason(), false);
    return;
  }
  if (!ready_) {
    if (lanes_[0].liveness.silent() || lanes_[1].liveness.silent()) {
      end("no client said hello within " + std::to_string(options_.silence_timeout_ms) + " ms",
          false);
    }
    return;
  }
  for (Lane which : {Lane::kCommand, Lane::kBulk}) {
    const bool stopped = which == Lane::kBulk && held_.data != nullptr;  // by us
    if (lane(which).liveness.silent() && !stopped) {
      end("no sign of life from the client for " + std::to_string(options_.silence_timeout_ms) +
              " ms",
          false);
      return;
    }
    if (lane(which).liveness.heartbeat_due()) send_control(which, FrameKind::kHeartbeat);
  }
}

void ServerSession::end(const std::string& reason, bool clean) {
  if (ended_) return;
  ended_ = true;
  downloads_.clear();
  batches_.clear();
  if (events_.on_end) events_.on_end(reason, clean);
}

void ServerSession::close(int linger_ms) {
  if (goodbye_) linger_ms = std::max(linger_ms, kGoodbyeLinger);
  if (!ended_) {
    flush_replies();
    if (lane(Lane::kCommand).greeted) {
      send_control(Lane::kCommand, FrameKind::kGoodbye, bytes_of(GoodbyeBody{}),
                   "the executor was told to stop");
    }
    ended_ = true;
  }
  channel_->close(linger_ms);
}

std::unique_ptr<ServerLink> ServerLink::create(std::unique_ptr<Channel> channel,
                                               ServerLinkOptions options, ServerLinkEvents events) {
  return std::make_unique<ServerSession>(std::move(channel), options, std::move(events));
}

}  // namespace vgpu::transport
