// PTX texts: load, decode every function, and run kernels that need little memory and time.
#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "fuzz.h"
#include "softgpu/memory_map.h"
#include "softgpu/ptx/engine.h"
#include "softgpu/ptx/module.h"
#include "softgpu/shadow.h"
#include "softgpu/texel_image.h"

namespace {

using namespace vgpu::softgpu;

constexpr uint64_t kMostVariables = 1 << 20;  // bytes; larger modules are loaded, not run
constexpr uint32_t kMostShared = 100 << 10;   // bytes of a block
constexpr uint64_t kBudget = 20000;           // instructions of a warp
constexpr size_t kMostKernels = 8;            // that are run; all are decoded
constexpr uint32_t kMostBlocks = 8;           // of a cluster
constexpr uint64_t kSlot = 256;               // bytes between the addresses that parameters get

// A text of many features: what the mutations start from.
constexpr const char* kSeed = R"(.version 8.8
.target sm_120a
.address_size 64
.visible .global .align 8 .b8 table[24] = {1, 2, 0xFF(other), 4};
.global .u32 other[2][3] = {{1, 2}, {3 + 4, 5 << 2}};
.const .f64 half = 0d3FE0000000000000;
.extern .shared .align 16 .b8 dynamic[];
.func (.param .b32 r) twice(.param .b32 v)
{ .reg .b32 %a; ld.param.b32 %a, [v]; add.u32 %a, %a, %a; st.param.b32 [r], %a; ret; }
.func (.reg .b32 r) next(.reg .b32 v) { add.u32 r, v, 1; ret; }
.visible .entry first(.param .u64 p, .param .u32 n, .param .align 8 .b8 s[16]) .maxntid 128, 1, 1
{
  .reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<12>; .reg .b64 %rd<6>; .reg .f32 %f<4>;
  .reg .f64 %fd<2>; .reg .b128 %q; .reg .v4 .b32 %v;
  .shared .align 8 .b8 tile[256]; .local .b32 own[4];
  .loc 1 2 3
  ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n]; ld.param.v2.b32 {%r2, %r3}, [s+8];
  mov.u32 %r4, %tid.x; setp.lt.and.s32 %p1|%p2, %r4, 16, !%p3;
  @%p1 bra LEFT;
  mad.lo.u32 %r5, %r4, 3, %r1; bra.uni MEET;
LEFT: shl.b32 %r5, %r4, 2;
MEET:
  mul.wide.u32 %rd2, %r4, 4; add.s64 %rd3, %rd1, %rd2;
  st.global.u32 [%rd3+16], %r5; ld.global.nc.v4.b32 %v, [%rd1];
  shfl.sync.bfly.b32 %r6|%p2, %r5, 1, 0x1f, 0xffffffff; vote.sync.ballot.b32 %r7, %p1, -1;
  cvt.rn.f32.s32 %f1, %r5; fma.rn.ftz.f32 %f2, %f1, 0f3f800000, %f1; cvt.rzi.s32.f32 %r8, %f2;
  st.shared.v2.b32 [tile+8], {%r5, %r8}; bar.sync 0; ld.shared.u16 %h1, [tile+10];
  atom.global.add.u32 %r9, [%rd1], 1; red.shared.max.s32 [tile], %r4;
  mov.b128 %q, {%rd1, %rd2}; mov.b32 {%h1, %h2}, %r9; prmt.b32 %r6, %r5, %r7, 0x5410;
  vabsdiff4.u32.u32.u32.add %r6, %r5, %r7.b0123, %r1; lop3.b32 %r6, %r5, %r7, %r8, 0x96;
  { .param .b32 x; .param .b32 y; st.param.b32 [x], %r5; call (y), twice, (x); ld.param.b32 %r6, [y]; }
  call (%r6), next, (%r6);
  mov.u32 %r7, 0;
WAYS: .branchtargets A, B;
MORE: and.b32 %r8, %r7, 1; brx.idx %r8, WAYS;
A: add.u32 %r7, %r7, 1; bra B;
B: add.u32 %r7, %r7, 1; setp.lt.u32 %p1, %r7, 10; @%p1 bra MORE;
  st.local.u32 [own+4], %r7; cvta.shared.u64 %rd4, dynamic;
  @!%p1 exit;
  ret;
}
.visible .entry second() { .reg .b64 %rd<3>; alloca.u64 %rd1, 16; stacksave.u64 %rd2; ret; }
)";

// What the other one leaves out: services of the driver, textures, clusters, asynchronous copies.
constexpr const char* kServices = R"(.version 8.8
.target sm_120a
.address_size 64
.extern .func (.param .b32 r) vprintf(.param .b64 format, .param .b64 values);
.extern .func (.param .b64 r) malloc(.param .b64 bytes);
.extern .func free(.param .b64 address);
.global .align 1 .b8 format[16] = {37, 100, 32, 37, 115, 32, 37, 53, 46, 50, 102, 10, 0};
.func (.param .b32 r) alone(.param .b32 v) { .reg .b32 %r<3>; ld.param.b32 %r1, [v];
  popc.b32 %r2, %r1; st.param.b32 [r], %r2; ret; }
.visible .entry says(.param .u64 p) .reqnctapercluster 2, 1, 1
{
  .reg .b32 %r<4>; .reg .b64 %rd<6>; .local .align 8 .b8 values[24]; .reg .pred %p;
  .shared .align 16 .b8 tile[64]; .shared .align 8 .b64 bar;
  ld.param.u64 %rd1, [p]; mov.u64 %rd2, format; cvta.local.u64 %rd3, values; mov.u32 %r1, %tid.x;
  st.local.u32 [values], %r1; st.local.u64 [values+8], %rd2; st.local.f64 [values+16], 0d3FE0000000000000;
  { .param .b32 r; .param .b64 f; .param .b64 v; st.param.b64 [f], %rd2; st.param.b64 [v], %rd3;
    call.uni (r), vprintf, (f, v); ld.param.b32 %r2, [r]; }
  { .param .b64 r; .param .b64 n; st.param.b64 [n], 32; call.uni (r), malloc, (n); ld.param.b64 %rd4, [r]; }
  { .param .b64 a; st.param.b64 [a], %rd4; call.uni free, (a); }
  mapa.shared::cluster.u32 %r3, tile, 1; ld.shared::cluster.u32 %r2, [%r3+4];
  barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
  mbarrier.init.shared.b64 [bar], 1;
  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd1], 16, [bar];
  cp.async.ca.shared.global [tile+16], [%rd1], 16; cp.async.commit_group; cp.async.wait_group 0;
  elect.sync %r2|%p, 0xffffffff;
  ret;
}
.visible .entry samples(.param .u64 p, .param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)
{
  .reg .f32 %f<5>; .reg .b32 %r<8>; .reg .b64 %rd<4>;
  mov.f32 %f1, 0f3f000000; mov.f32 %f2, 0fbfc00000; mov.u32 %r1, %tid.x;
  ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [c];
  tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f2}];
  tex.level.1d.v4.s32.f32 {%r2, %r3, %r4, %r5}, [%rd2, {%f1}], %f2;
  tld4.r.2d.v4.u32.f32 {%r2, %r3, %r4, %r5}, [%rd1, {%f1, %f2}];
  suld.b.2d.b32.clamp %r2, [%rd1, {%r1, %r3}]; sust.b.2d.b32.trap [%rd1, {%r1, %r2}], %r3;
  txq.width.b32 %r6, [%rd1];
  ret;
}
)";

bool punctuates(char c) {
  return std::string_view(",;(){}[]<>@!|+=~*/").find(c) != std::string_view::npos;
}
bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

// Words, signs, and the blanks between them, so that the text comes back when they are joined.
std::vector<std::string_view> tokens_of(std::string_view text) {
  std::vector<std::string_view> tokens;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    if (!punctuates(text[at])) {
      const bool blank = is_blank(text[at]);
      while (end < text.size() && is_blank(text[end]) == blank && !punctuates(text[end])) ++end;
    }
    tokens.push_back(text.substr(at, end - at));
    at = end;
  }
  return tokens;
}

constexpr std::string_view kWords[] = {
    "%r1",
    "%rd1",
    "%p1",
    "%f1",
    "%h1",
    "%q",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ";",
    ",",
    "|",
    "_",
    "@",
    "0",
    "-1",
    "1",
    "31",
    "32",
    "4294967295",
    "0x7fffffffffffffff",
    "1152921504606846976",
    "1.5",
    "0f7fc00000",
    ".reg",
    ".shared",
    ".local",
    ".param",
    ".b8",
    ".b32",
    ".b128",
    ".pred",
    ".v4",
    ".align",
    ".global",
    ".entry",
    ".func",
    "ld.global.v8.b32",
    "st.shared.b64",
    "mov.b64",
    "ret",
    "atom.global.cas.b128",
    "bar.sync",
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
    "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16",
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16",
    "cp.async.ca.shared.global",
    "mbarrier.try_wait.parity.shared.b64",
    "redux.sync.add.u32",
    "cvt.rn.satfinite.e4m3x2.f32",
    "cvt.pack.sat.u8.s32.b32",
    "div.rn.f64",
    "sqrt.approx.ftz.f32",
    "setp.equ.f16x2",
    "dp4a.u32.s32",
    "shf.l.wrap.b32",
    "tex.2d.v4.f32.f32",
    "call",
    "brx.idx",
    "vadd2.s32.s32.s32.sat",
    "alloca.u64",
    "nanosleep.u32",
    "activemask.b32",
    "bra",
    "trap",
};

struct Random {
  uint64_t state;
  size_t below(size_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return limit == 0 ? 0 : (state >> 33) % limit;
  }
};

void mutate(std::vector<std::string_view>& tokens, const std::vector<std::string_view>& others,
            Random& random) {
  const size_t at = random.below(tokens.size());
  const auto place = tokens.begin() + static_cast<ptrdiff_t>(at);
  switch (random.below(7)) {
    case 0:
      std::swap(*place, tokens[random.below(tokens.size())]);
      break;
    case 1:
      tokens.erase(place, place + static_cast<ptrdiff_t>(
                                      random.below(std::min<size_t>(tokens.size() - at, 16) + 1)));
      break;
    case 2:
      *place = kWords[random.below(std::size(kWords))];
      break;
    case 3:
      *place = others[random.below(others.size())];
      break;
    case 4:
      tokens.insert(place, kWords[random.below(std::size(kWords))]);
      break;
    case 5: {  // a run of tokens again, from this text or the other one
      const auto& from = random.below(2) == 0 ? others : tokens;
      const size_t begin = random.below(from.size());
      const size_t count = random.below(std::min<size_t>(from.size() - begin, 40) + 1);
      const std::vector<std::string_view> part(
          from.begin() + static_cast<ptrdiff_t>(begin),
          from.begin() + static_cast<ptrdiff_t>(begin + count));
      tokens.insert(tokens.begin() + static_cast<ptrdiff_t>(at), part.begin(), part.end());
      break;
    }
    default:  // the same word somewhere else
      tokens[random.below(tokens.size())] = *place;
  }
}

// Functions that no kernel calls are decoded by nothing else.
void decode_functions(ptx::ModuleText& module) {
  for (const auto& [name, index] : module.unit(0).functions) {
    ptx::Function* function = module.function(index);
    if (function->signature.entry || function->signature.body_begin == std::string_view::npos) {
      continue;
    }
    std::string log;
    const ptx::Code* code = module.decode(function, log);
    fuzz::require(code != nullptr || !log.empty());
  }
}

class Device {
 public:
  explicit Device(std::shared_ptr<ptx::Module> module) : module_(std::move(module)) {
    instance_.module = module_;
    memory_.add(address(), sizeof(buffer_));
    shadow_.add(address(), sizeof(buffer_));
  }

  bool place_variables() {
    uint64_t total = 0;
    for (const ptx::Variable& variable : module_->variables()) {
      if (variable.size > kMostVariables) return false;
      total += variable.size + 2 * variable.align;
      if (variable.align > kMostVariables || total > kMostVariables) return false;
    }
    for (const ptx::Variable& variable : module_->variables()) {
      const uint64_t align = std::max<uint64_t>(variable.align, 16);
      storage_.emplace_back(variable.size + align);
      const auto base = reinterpret_cast<uint64_t>(storage_.back().data());
      const uint64_t at = (base + align - 1) / align * align;
      fuzz::require(variable.initial.size() <= variable.size);
      std::copy(variable.initial.begin(), variable.initial.end(), reinterpret_cast<std::byte*>(at));
      memory_.add(at, std::max<uint64_t>(variable.size, 1), !variable.constant);
      instance_.addresses.push_back(at);
    }
    return true;
  }

  // Every parameter is an address in the one buffer there is, and a handle of a texture or surface.
  // `choice` is any number: which parameter is which image, and which checks are made.
  void run(size_t index, size_t choice) {
    const ptx::Kernel& kernel = module_->kernels()[index];
    const ptx::Dim3 cluster = kernel.cluster.x == 0 ? ptx::Dim3{} : kernel.cluster;
    if (kernel.static_shared_bytes > kMostShared || blocks_of(cluster) > kMostBlocks) return;
    std::vector<std::byte> parameters(kernel.parameter_bytes);
    for (size_t at = 0; at + 8 <= parameters.size(); at += 8) {
      const uint64_t pointer = address() + at / 8 * kSlot % sizeof(buffer_);
      std::memcpy(&parameters[at], &pointer, 8);
    }
    ptx::Launch launch;
    launch.instance = &instance_;
    launch.kernel = index;
    launch.grid = launch.cluster = cluster;
    launch.block = {40, 1, 1};
    launch.dynamic_shared_bytes = 64;
    launch.parameters = parameters;
    launch.memory = &memory_;
    launch.budget = kBudget;
    serve(launch, choice);
    static ptx::Engine engine(1, true);
    const ptx::Fault fault = engine.run(launch);
    fuzz::require(!fault || !fault.message.empty());
  }

 private:
  uint64_t address() { return reinterpret_cast<uint64_t>(buffer_); }

  static uint64_t blocks_of(const ptx::Dim3& cluster) {
    const uint64_t most = kMostBlocks + 1;  // of each factor: no product wraps
    return std::min<uint64_t>(cluster.x, most) * std::min<uint64_t>(cluster.y, most) *
           std::min<uint64_t>(cluster.z, most);
  }

  // What the driver does for device code, and the optional checks.
  void serve(ptx::Launch& launch, size_t choice) {
    launch.print = launch.complain = [](const std::string&) {};
    launch.allocate = [this](uint64_t size) { return size < sizeof(buffer_) ? address() : 0; };
    launch.release = [](uint64_t) {};
    launch.set_conditional = [](uint64_t handle, uint32_t) { return handle % 2 == 0; };
    launch.image = [this, choice](uint64_t handle) { return image(handle, choice); };
    launch.check_uninitialised = choice % 4 == 1;
    launch.check_races = choice % 4 >= 2;
    launch.shadow = &shadow_;
    launch.report = [](const ptx::Fault& finding) { fuzz::require(!finding.message.empty()); };
  }

  // An image of every shape, of 4 by 4 by 2 texels or so, in the buffer.
  std::shared_ptr<const TexelImage> image(uint64_t handle, size_t choice) {
    if (handle - address() >= sizeof(buffer_)) return nullptr;
    const uint64_t number = (handle - address()) / kSlot + choice;
    TexelImage image;
    image.shape = static_cast<TexelImage::Shape>(number % 8);
    image.surface = number / 8 % 2 != 0;
    image.texel = static_cast<Texel>(number / 2 % 8);
    image.channels = 1u << number % 3;
    image.layers = image.shape >= TexelImage::Shape::kLayered1D ? 2 : 1;
    if (image.shape == TexelImage::Shape::kCube) image.layers = 1;
    const uint32_t pitch = 4 * image.element();
    TexelLevel level{address(), pitch, uint64_t{4} * pitch, 4, 4, 2};
    if (image.shape == TexelImage::Shape::kLinear) level.height = level.depth = 1;
    image.levels.push_back(level);
    if (number % 3 == 0) image.levels.push_back({address(), pitch, uint64_t{4} * pitch, 2, 2, 1});
    image.sampler.linear = image.texel == Texel::kFloat || image.texel == Texel::kHalf;
    image.sampler.normalized = number % 2 != 0;
    image.sampler.address[0] = static_cast<AddressMode>(number % 4);
    image.sampler.most_level = 3;
    fuzz::require(level.bytes(image.element(), image.slices(level)) <= sizeof(buffer_));
    return std::make_shared<const TexelImage>(std::move(image));
  }

  alignas(256) std::byte buffer_[4096] = {};
  std::shared_ptr<ptx::Module> module_;
  ptx::Instance instance_;
  MemoryMap memory_;
  Shadow shadow_;
  std::vector<std::vector<std::byte>> storage_;
};

}  // namespace

std::vector<fuzz::Input> fuzz::seeds() { return {input_of(kSeed), input_of(kServices)}; }

uint64_t fuzz::default_rounds() { return 3000; }

fuzz::Input fuzz::mutated(const Input& input, const Input& other, uint64_t seed) {
  const auto text = [](const Input& bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  std::vector<std::string_view> tokens = tokens_of(text(input));
  std::vector<std::string_view> others = tokens_of(text(other));
  if (others.empty()) others.emplace_back(";");
  Random random{seed};
  for (size_t i = 1 + random.below(4); i-- > 0 && !tokens.empty();) mutate(tokens, others, random);
  Input result;
  for (const std::string_view token : tokens) {
    result.insert(result.end(), token.begin(), token.end());
  }
  return result;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string log;
  const auto module = ptx::Module::load({reinterpret_cast<const char*>(data), size}, log);
  if (module == nullptr) {
    fuzz::require(!log.empty());
    return 0;
  }
  Device device(module);
  const bool runs = device.place_variables();
  for (size_t i = 0; i < module->kernels().size(); ++i) {
    log.clear();
    if (!module->prepare(i, log)) {
      fuzz::require(!log.empty());
    } else if (runs && i < kMostKernels) {
      device.run(i, size);
    }
  }
  decode_functions(static_cast<ptx::ModuleText&>(*module));
  return 0;
}
