// Texture and surface instructions (PTX ISA sections 9.7.10 and 9.7.11), with handles in registers
// ("indirect" access). What names a .texref, .samplerref or .surfref variable is refused: programs
// since CUDA 12 have none.
#include <optional>
#include <utility>

#include "softgpu/ptx/decode.h"
#include "softgpu/ptx/texture.h"

namespace vgpu::softgpu::ptx {
namespace {

template <class T, size_t n>
std::optional<T> named(const std::vector<std::string_view>& parts,
                       const std::pair<std::string_view, T> (&names)[n]) {
  for (const std::string_view part : parts) {
    for (const auto& [name, value] : names) {
      if (part == name) return value;
    }
  }
  return {};
}

constexpr std::pair<std::string_view, Geometry> kGeometries[] = {
    {"1d", Geometry::k1D},      {"2d", Geometry::k2D},   {"3d", Geometry::k3D},
    {"a1d", Geometry::kA1D},    {"a2d", Geometry::kA2D}, {"cube", Geometry::kCube},
    {"acube", Geometry::kACube}};
constexpr std::pair<std::string_view, TextureQuery> kQueries[] = {
    {"width", TextureQuery::kWidth},
    {"height", TextureQuery::kHeight},
    {"depth", TextureQuery::kDepth},
    {"array_size", TextureQuery::kArraySize},
    {"num_mipmap_levels", TextureQuery::kLevels},
    {"num_samples", TextureQuery::kSamples},
    {"normalized_coords", TextureQuery::kNormalized},
    {"memory_layout", TextureQuery::kMemoryLayout}};
constexpr std::pair<std::string_view, Boundary> kBoundaries[] = {
    {"trap", Boundary::kTrap}, {"clamp", Boundary::kClamp}, {"zero", Boundary::kZero}};
constexpr std::pair<std::string_view, SurfaceOp> kOps[] = {{"add", SurfaceOp::kAdd},
                                                           {"min", SurfaceOp::kMin},
                                                           {"max", SurfaceOp::kMax},
                                                           {"and", SurfaceOp::kAnd},
                                                           {"or", SurfaceOp::kOr}};
constexpr std::pair<std::string_view, uint32_t> kComponents[] = {
    {"r", 0u}, {"g", 1u}, {"b", 2u}, {"a", 3u}};

}  // namespace

// [handle] or [handle, {coordinates}]: fills info.handle, layer and coordinates.
bool Decoder::texture_place(TextureInfo& info, const Operand& place, bool integer) {
  if (!place.is(Operand::Kind::kAddress) || place.parts.size() != 2) {
    return fail("expected [handle, {coordinates}]");
  }
  if (!place.parts[0].is(Operand::Kind::kRegister)) {
    return fail("texture and surface references are not supported");
  }
  info.handle = source(place.parts[0], Type::kU64);
  const Operand& given = place.parts[1];
  const bool vector = given.is(Operand::Kind::kVector);
  const size_t first = layered(info.geometry) ? 1 : 0;
  const size_t wanted = first + coordinates_of(info.geometry);
  if ((vector ? given.parts.size() : 1) < wanted) return fail("too few coordinates");
  const auto part = [&](size_t i) -> const Operand& { return vector ? given.parts[i] : given; };
  if (first == 1) info.layer = source(part(0), Type::kU32);
  for (size_t i = first; i < wanted; ++i) {
    info.coordinates[i - first] = source(part(i), integer ? Type::kS32 : Type::kF32);
  }
  return error_.empty();
}

// One vector operand with an element per coordinate.
bool Decoder::texture_vector(const Operand& given, const TextureInfo& info, Type type,
                             uint32_t (&rows)[3]) {
  const uint32_t count = coordinates_of(info.geometry);
  const bool vector = given.is(Operand::Kind::kVector);
  if ((vector ? given.parts.size() : 1) < count) return fail("a vector with too few elements");
  for (uint32_t i = 0; i < count; ++i) rows[i] = source(vector ? given.parts[i] : given, type);
  return error_.empty();
}

bool Decoder::texture_results(TextureInfo& info, const Operand& given, Type type) {
  const Operand& value = given.is(Operand::Kind::kPair) ? given.parts[0] : given;
  if (given.is(Operand::Kind::kPair)) info.resident = predicate_result(given.parts[1]);
  const bool vector = value.is(Operand::Kind::kVector);
  info.count = vector ? static_cast<uint32_t>(value.parts.size()) : 1;
  if (info.count > 4) return fail("a vector of more than four elements");
  for (uint32_t k = 0; k < info.count; ++k) {
    info.values[k] = result(vector ? value.parts[k] : value, type);
  }
  return error_.empty();
}

bool Decoder::decode_texture() {
  if (parts_[0] == "txq" || parts_[0] == "suq") return decode_texture_query();
  TextureInfo& info = code_->textures.emplace_back();
  info.gather = parts_[0] == "tld4";
  const auto geometry = named(parts_, kGeometries);
  if (!geometry) return fail("this geometry is not supported");
  info.geometry = *geometry;
  if (types_.size() != 2) return fail("expected the types of the result and the coordinates");
  if (size_of(types_[0]) != 4 || !has("v4") || types_[0] == Type::kF16x2) {
    return fail("results other than .v4 of 32 bits are not supported");
  }
  info.integer = types_[1] == Type::kS32;
  if (!info.integer && types_[1] != Type::kF32) return fail("unknown type of coordinates");
  const bool cube = info.geometry == Geometry::kCube || info.geometry == Geometry::kACube;
  if (info.integer && (cube || info.gather)) return fail("integer coordinates");
  if (info.gather) info.component = named(parts_, kComponents).value_or(0);
  size_t next = 2;
  if (has("level")) {
    info.level = source(operand(next++), info.integer ? Type::kS32 : Type::kF32);
  } else if (has("grad")) {
    if (cube) return fail("gradients of a cube map are not supported");
    info.gradients = true;
    if (!texture_vector(operand(next), info, Type::kF32, info.dx)) return false;
    if (!texture_vector(operand(next + 1), info, Type::kF32, info.dy)) return false;
    next += 2;
  }
  if (operand(next).is(Operand::Kind::kVector)) {
    if (cube) return fail("offsets in a cube map");
    if (!texture_vector(operand(next), info, Type::kS32, info.offset)) return false;
    ++next;
  }
  if (next < operands()) return fail("depth comparison is not supported");
  if (!texture_place(info, operand(1), info.integer)) return false;
  if (!texture_results(info, operand(0), types_[0])) return false;
  Instr in;
  in.data = &info;
  in.run = handlers::texture_fetch;
  return push(in);
}

// txq.query.b32 d, [a]; txq.level.query.b32 d, [a], level; suq.query.b32 d, [a].
bool Decoder::decode_texture_query() {
  TextureInfo& info = code_->textures.emplace_back();
  const auto query = named(parts_, kQueries);
  if (!query) return fail("this query is not supported");
  info.query = *query;
  const Operand& place = operand(1);
  if (!place.is(Operand::Kind::kAddress) || place.parts.empty() ||
      !place.parts[0].is(Operand::Kind::kRegister)) {
    return fail("texture and surface references are not supported");
  }
  info.handle = source(place.parts[0], Type::kU64);
  if (has("level")) info.level = source(operand(2), Type::kU32);
  info.values[0] = result(operand(0), Type::kB32);
  Instr in;
  in.imm = parts_[0] == "suq" ? 1 : 0;
  in.data = &info;
  in.run = handlers::texture_query;
  return push(in);
}

// suld.b d, [a, {x, y, z}]; sust.b [a, {x, y, z}], values; sured.b.op [a, {x, y, z}], value. The
// first coordinate counts bytes. (The formatted forms, .p, count elements.)
bool Decoder::decode_surface() {
  TextureInfo& info = code_->textures.emplace_back();
  const auto geometry = named(parts_, kGeometries);
  if (!geometry || *geometry == Geometry::kCube || *geometry == Geometry::kACube) {
    return fail("this geometry is not supported");
  }
  info.geometry = *geometry;
  if (!has("b")) return fail("formatted surface accesses are not supported");
  const auto boundary = named(parts_, kBoundaries);
  info.boundary = boundary.value_or(Boundary::kTrap);
  info.bytes = size_of(type_);
  info.is_signed = is_signed(type_);
  const bool load = parts_[0] == "suld";
  if (!texture_place(info, operand(load ? 1 : 0), true)) return false;
  Instr in;
  in.data = &info;
  if (load) {
    if (!texture_results(info, operand(0), type_)) return false;
    in.run = handlers::surface_load;
  } else {
    const Operand& given = operand(1);
    const bool vector = given.is(Operand::Kind::kVector);
    info.count = vector ? static_cast<uint32_t>(given.parts.size()) : 1;
    if (info.count > 4) return fail("a vector of more than four elements");
    for (uint32_t k = 0; k < info.count; ++k) {
      info.values[k] = source(vector ? given.parts[k] : given, type_);
    }
    in.run = handlers::surface_store;
  }
  if (info.bytes == 0 || info.bytes > 8 || info.count == 0 || info.bytes * info.count > 16) {
    return fail("an access of this size");
  }
  if (parts_[0] == "sured") {
    const auto op = named(parts_, kOps);
    if (!op || info.count != 1 || info.bytes < 4) return fail("unknown operation");
    info.op = *op;
    in.run = handlers::surface_reduce;
  }
  return error_.empty() && push(in);
}

}  // namespace vgpu::softgpu::ptx
