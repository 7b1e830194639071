// Zstandard frames and blocks (RFC 8878, section 3). The whole content is the window: it is bounded
// by the size that the caller expects.
#include <algorithm>
#include <memory>

#include "image/decompress.h"
#include "image/zstd_entropy.h"

namespace vgpu::image {
namespace zstd {
namespace {

constexpr uint32_t kFrameMagic = 0xFD2FB528;
constexpr uint32_t kSkippableMagic = 0x184D2A50;  // and the 15 above it
constexpr size_t kMaxBlock = 128 * 1024;
// Copies run in steps of 16 bytes and may write this far behind the end of a buffer.
constexpr size_t kSlack = 32;
constexpr size_t kFirstOutput = 1 << 20;

struct LengthCode {
  uint32_t baseline;
  uint8_t bits;
};

constexpr std::array<LengthCode, 36> kLiteralCodes = {
    {{0, 0},     {1, 0},      {2, 0},      {3, 0},     {4, 0},   {5, 0},     {6, 0},     {7, 0},
     {8, 0},     {9, 0},      {10, 0},     {11, 0},    {12, 0},  {13, 0},    {14, 0},    {15, 0},
     {16, 1},    {18, 1},     {20, 1},     {22, 1},    {24, 2},  {28, 2},    {32, 3},    {40, 3},
     {48, 4},    {64, 6},     {128, 7},    {256, 8},   {512, 9}, {1024, 10}, {2048, 11}, {4096, 12},
     {8192, 13}, {16384, 14}, {32768, 15}, {65536, 16}}};

constexpr std::array<LengthCode, 53> kMatchCodes = {
    {{3, 0},     {4, 0},     {5, 0},      {6, 0},      {7, 0},     {8, 0},   {9, 0},     {10, 0},
     {11, 0},    {12, 0},    {13, 0},     {14, 0},     {15, 0},    {16, 0},  {17, 0},    {18, 0},
     {19, 0},    {20, 0},    {21, 0},     {22, 0},     {23, 0},    {24, 0},  {25, 0},    {26, 0},
     {27, 0},    {28, 0},    {29, 0},     {30, 0},     {31, 0},    {32, 0},  {33, 0},    {34, 0},
     {35, 1},    {37, 1},    {39, 1},     {41, 1},     {43, 2},    {47, 2},  {51, 3},    {59, 3},
     {67, 4},    {83, 4},    {99, 5},     {131, 7},    {259, 8},   {515, 9}, {1027, 10}, {2051, 11},
     {4099, 12}, {8195, 13}, {16387, 14}, {32771, 15}, {65539, 16}}};

constexpr int16_t kLiteralCounts[] = {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,  1,  2,  2,
                                      2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};
constexpr int16_t kMatchCounts[] = {1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1};
constexpr int16_t kOffsetCounts[] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1,  1,  1,  1,  1, 1,
                                     1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};

// The three symbol streams of the sequences section.
struct StreamKind {
  std::span<const int16_t> counts;  // the predefined table
  int predefined_log;
  int max_log;
  int max_symbol;
};
constexpr StreamKind kLiteralLengths{kLiteralCounts, 6, 9, 35};
constexpr StreamKind kOffsets{kOffsetCounts, 5, 8, 31};
constexpr StreamKind kMatchLengths{kMatchCounts, 6, 9, 52};

uint64_t little_endian(Input bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = (value << 8) | bytes[i];
  return value;
}

// The first `count` bytes of `input`, which then starts behind them. False if there are fewer.
bool take(Input& input, size_t count, Input& taken) {
  if (input.size() < count) return false;
  taken = input.first(count);
  input = input.subspan(count);
  return true;
}

bool take_number(Input& input, size_t count, uint64_t& value) {
  Input bytes;
  if (!take(input, count, bytes)) return false;
  value = little_endian(bytes);
  return true;
}

// Content so far; grows towards the expected size as blocks really produce bytes.
class Output {
 public:
  explicit Output(uint64_t limit, size_t input_size) : limit_(limit) {
    grow(std::min<uint64_t>(limit, std::max<uint64_t>(kFirstOutput, uint64_t{input_size} * 8)));
  }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] const uint8_t* data() const {
    return reinterpret_cast<const uint8_t*>(bytes_.data());
  }

  // Room for `count` bytes and the slack; false beyond the limit.
  bool reserve(size_t count) {
    if (count > limit_ - size_) return false;
    if (size_ + count > capacity_) {
      grow(std::min<uint64_t>(limit_, std::max<uint64_t>(size_ + count, 2 * capacity_)));
    }
    return true;
  }
  bool append(Input bytes) {
    if (!reserve(bytes.size())) return false;
    if (!bytes.empty()) std::memcpy(end(), bytes.data(), bytes.size());
    size_ += bytes.size();
    return true;
  }
  bool append_repeated(uint8_t value, size_t count) {
    if (!reserve(count)) return false;
    std::memset(end(), value, count);
    size_ += count;
    return true;
  }
  // `from` has kSlack readable bytes behind its end.
  bool append_slack(const uint8_t* from, size_t count) {
    if (!reserve(count)) return false;
    copy_steps(end(), from, count);
    size_ += count;
    return true;
  }
  // A match `distance` bytes back, not further than `begin`.
  bool append_match(size_t distance, size_t count, size_t begin) {
    if (distance == 0 || distance > size_ - begin || !reserve(count)) return false;
    uint8_t* to = end();
    const uint8_t* from = to - distance;
    if (distance >= 16) {
      copy_steps(to, from, count);
    } else {
      for (size_t i = 0; i < count; ++i) to[i] = from[i];
    }
    size_ += count;
    return true;
  }
  std::vector<std::byte> take() {
    bytes_.resize(size_);
    return std::move(bytes_);
  }

 private:
  static void copy_steps(uint8_t* to, const uint8_t* from, size_t count) {
    for (size_t done = 0; done < count; done += 16) std::memcpy(to + done, from + done, 16);
  }
  uint8_t* end() { return reinterpret_cast<uint8_t*>(bytes_.data()) + size_; }
  void grow(uint64_t capacity) {
    bytes_.resize(capacity + kSlack);
    capacity_ = capacity;
  }

  uint64_t limit_;
  uint64_t capacity_ = 0;
  size_t size_ = 0;
  std::vector<std::byte> bytes_;
};

struct FrameHeader {
  bool checksum = false;
  bool has_size = false;
  uint64_t size = 0;
};

bool read_frame_header(Input& input, FrameHeader& header) {
  uint64_t descriptor = 0, ignored = 0, dictionary = 0;
  if (!take_number(input, 1, descriptor) || (descriptor & 8) != 0) return false;
  const bool single = (descriptor >> 5) & 1;
  const unsigned size_flag = static_cast<unsigned>(descriptor >> 6);
  static constexpr size_t kDictionaryBytes[] = {0, 1, 2, 4};
  header.checksum = (descriptor >> 2) & 1;
  if (!single && !take_number(input, 1, ignored)) return false;
  if (!take_number(input, kDictionaryBytes[descriptor & 3], dictionary) || dictionary != 0) {
    return false;
  }
  const size_t size_bytes = size_flag == 0 ? (single ? 1 : 0) : size_t{1} << size_flag;
  if (!take_number(input, size_bytes, header.size)) return false;
  if (size_flag == 1) header.size += 256;
  header.has_size = size_bytes != 0;
  return true;
}

// What later blocks of a frame may refer to.
class Frame {
 public:
  explicit Frame(Output& output) : output_(output), begin_(output.size()) {
    literals_.resize(kMaxBlock + kSlack);
  }
  bool run(Input& input);

 private:
  bool block(Input block);
  bool read_literals(Input& input);
  bool read_huffman(Input& input, bool treeless, unsigned format);
  bool decode_streams(Input input, size_t streams, size_t size);
  bool read_table(Input& input, unsigned mode, const StreamKind& kind, FseTable& table);
  bool read_sequences(Input input);
  bool run_sequences(Input bits, size_t count);
  size_t offset_of(uint64_t value, bool no_literals);

  Output& output_;
  size_t begin_;
  std::vector<uint8_t> literals_;
  size_t literal_count_ = 0;
  HuffmanTable huffman_;
  FseTable literal_lengths_, offsets_, match_lengths_;
  std::array<size_t, 3> recent_{1, 4, 8};
};

bool Frame::run(Input& input) {
  FrameHeader header;
  if (!read_frame_header(input, header)) return false;
  for (bool last = false; !last;) {
    uint64_t word = 0;
    if (!take_number(input, 3, word)) return false;
    last = word & 1;
    const unsigned type = (word >> 1) & 3;
    const size_t size = word >> 3;
    Input body;
    if (size > kMaxBlock || type == 3 || !take(input, type == 1 ? 1 : size, body)) return false;
    if (type == 0 && !output_.append(body)) return false;
    if (type == 1 && !output_.append_repeated(body[0], size)) return false;
    if (type == 2 && !block(body)) return false;
  }
  const size_t produced = output_.size() - begin_;
  if (header.has_size && header.size != produced) return false;
  if (!header.checksum) return true;
  uint64_t expected = 0;
  if (!take_number(input, 4, expected)) return false;
  return static_cast<uint32_t>(xxhash64({output_.data() + begin_, produced})) == expected;
}

bool Frame::block(Input input) { return read_literals(input) && read_sequences(input); }

bool Frame::read_literals(Input& input) {
  if (input.empty()) return false;
  const unsigned type = input[0] & 3, format = (input[0] >> 2) & 3;
  if (type >= 2) return read_huffman(input, type == 3, format);
  const size_t header = format == 1 ? 2 : format == 3 ? 3 : 1;
  uint64_t word = 0;
  if (!take_number(input, header, word)) return false;
  const size_t size = word >> (header == 1 ? 3 : 4);
  Input bytes;
  if (size > kMaxBlock || !take(input, type == 1 ? 1 : size, bytes)) return false;
  if (type == 1) {
    std::fill_n(literals_.begin(), size, bytes[0]);
  } else {
    std::copy(bytes.begin(), bytes.end(), literals_.begin());
  }
  literal_count_ = size;
  return true;
}

bool Frame::read_huffman(Input& input, bool treeless, unsigned format) {
  const unsigned width = format == 3 ? 18 : format == 2 ? 14 : 10;
  uint64_t word = 0;
  if (!take_number(input, format == 3 ? 5 : format == 2 ? 4 : 3, word)) return false;
  const uint64_t mask = (1u << width) - 1;
  const size_t size = (word >> 4) & mask, compressed = (word >> (4 + width)) & mask;
  Input bytes;
  if (size > kMaxBlock || !take(input, compressed, bytes)) return false;
  if (!treeless && !huffman_.read(bytes)) return false;
  if (!huffman_.valid) return false;
  literal_count_ = size;
  return decode_streams(bytes, format == 0 ? 1 : 4, size);
}

bool Frame::decode_streams(Input input, size_t streams, size_t size) {
  const std::span<uint8_t> target(literals_.data(), size);
  if (streams == 1) return huffman_.decode(input, target);
  std::array<uint64_t, 3> sizes{};
  for (auto& one : sizes) {
    if (!take_number(input, 2, one)) return false;
  }
  const size_t quarter = (size + 3) / 4;
  if (3 * quarter > size) return false;
  for (size_t i = 0; i < 4; ++i) {
    Input stream = input;
    if (i < 3 && !take(input, sizes[i], stream)) return false;
    const size_t count = i < 3 ? quarter : size - 3 * quarter;
    if (!huffman_.decode(stream, target.subspan(i * quarter, count))) return false;
  }
  return true;
}

bool Frame::read_table(Input& input, unsigned mode, const StreamKind& kind, FseTable& table) {
  switch (mode) {
    case 0:
      return table.build(kind.counts, kind.predefined_log);
    case 1: {
      uint64_t symbol = 0;
      if (!take_number(input, 1, symbol) || symbol > static_cast<uint64_t>(kind.max_symbol)) {
        return false;
      }
      table.set_repeated(static_cast<uint8_t>(symbol));
      return true;
    }
    case 2:
      return table.read(input, kind.max_log, kind.max_symbol);
    default:
      return table.valid;
  }
}

bool Frame::read_sequences(Input input) {
  uint64_t count = 0, more = 0, modes = 0;
  if (!take_number(input, 1, count)) return false;
  if (count == 255) {
    if (!take_number(input, 2, more)) return false;
    count = more + 0x7F00;
  } else if (count >= 128) {
    if (!take_number(input, 1, more)) return false;
    count = ((count - 128) << 8) + more;
  }
  if (count == 0) return input.empty() && output_.append({literals_.data(), literal_count_});
  if (!take_number(input, 1, modes) || (modes & 3) != 0) return false;
  return read_table(input, (modes >> 6) & 3, kLiteralLengths, literal_lengths_) &&
         read_table(input, (modes >> 4) & 3, kOffsets, offsets_) &&
         read_table(input, (modes >> 2) & 3, kMatchLengths, match_lengths_) &&
         run_sequences(input, count);
}

// Values 1 to 3 name recent offsets, shifted by one if no literals precede the match.
size_t Frame::offset_of(uint64_t value, bool no_literals) {
  if (value > 3) {
    recent_ = {static_cast<size_t>(value - 3), recent_[0], recent_[1]};
    return recent_[0];
  }
  const size_t index = value - 1 + (no_literals ? 1 : 0);
  if (index == 0) return recent_[0];
  const size_t offset = index == 3 ? recent_[0] - 1 : recent_[index];
  if (index >= 2) recent_[2] = recent_[1];
  recent_[1] = recent_[0];
  recent_[0] = offset;
  return offset;
}

bool Frame::run_sequences(Input bytes, size_t count) {
  BackwardBits bits;
  if (!bits.open(bytes)) return false;
  uint64_t literal_state = bits.read(literal_lengths_.log);
  uint64_t offset_state = bits.read(offsets_.log);
  uint64_t match_state = bits.read(match_lengths_.log);
  const size_t block_begin = output_.size();
  size_t literal = 0;
  for (size_t i = 0; i < count; ++i) {
    const FseEntry l = literal_lengths_.entries[literal_state];
    const FseEntry o = offsets_.entries[offset_state];
    const FseEntry m = match_lengths_.entries[match_state];
    const uint64_t offset_value = (uint64_t{1} << o.symbol) + bits.read(o.symbol);
    const LengthCode match_code = kMatchCodes[m.symbol], literal_code = kLiteralCodes[l.symbol];
    const size_t match_length = match_code.baseline + bits.read(match_code.bits);
    const size_t literals = literal_code.baseline + bits.read(literal_code.bits);
    if (i + 1 < count) {
      literal_state = l.baseline + bits.read(l.bits);
      match_state = m.baseline + bits.read(m.bits);
      offset_state = o.baseline + bits.read(o.bits);
    }
    if (bits.left() < 0 || literals > literal_count_ - literal) return false;
    if (!output_.append_slack(literals_.data() + literal, literals)) return false;
    literal += literals;
    if (!output_.append_match(offset_of(offset_value, literals == 0), match_length, begin_)) {
      return false;
    }
    if (output_.size() - block_begin > kMaxBlock) return false;
  }
  if (bits.left() != 0) return false;
  return output_.append({literals_.data() + literal, literal_count_ - literal});
}

bool run_frames(Input input, Output& output) {
  while (!input.empty()) {
    uint64_t magic = 0, size = 0;
    Input skipped;
    if (!take_number(input, 4, magic)) return false;
    if ((magic & ~uint64_t{15}) == kSkippableMagic) {
      if (!take_number(input, 4, size) || !take(input, size, skipped)) return false;
      continue;
    }
    if (magic != kFrameMagic) return false;
    // Its tables are too large for a thread's stack in a foreign program.
    if (!std::make_unique<Frame>(output)->run(input)) return false;
  }
  return true;
}

}  // namespace
}  // namespace zstd

std::optional<std::vector<std::byte>> decompress_zstd(std::span<const std::byte> input,
                                                      uint64_t size, std::string& error) {
  zstd::Output output(size, input.size());
  const zstd::Input bytes(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  if (!zstd::run_frames(bytes, output) || output.size() != size) {
    error = "Zstandard: the frame is damaged";
    return std::nullopt;
  }
  return output.take();
}

}  // namespace vgpu::image
