// Fat binaries: kinds, entries, decompression, the choice of an entry.
#include "fuzz.h"
#include "image/decompress.h"
#include "image_samples.h"

using namespace vgpu::image;

std::vector<fuzz::Input> fuzz::seeds() {
  std::vector<Input> all = {input_of(samples::make_rich_fatbin())};
  for (const Vector& vector : kZstdVectors) {
    const samples::Part part{EntryKind::kPtx, 90, samples::buffer(vector.content), kFlagZstd,
                             samples::from_hex(vector.compressed)};
    all.push_back(input_of(samples::make_fatbin({part})));
  }
  for (const Vector& vector : kLz4Vectors) {
    const samples::Part part{EntryKind::kPtx, 90, samples::buffer(vector.content), kFlagLz4,
                             samples::from_hex(vector.compressed)};
    all.push_back(input_of(samples::make_fatbin({part})));
  }
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = fuzz::bytes_of(data, size);
  std::string error;
  if (const auto image = identify(bytes, error)) {
    fuzz::require(image->bytes.size() <= size && image->bytes.data() == bytes.data());
  }
  const auto all = entries(bytes, error);
  if (!all) {
    fuzz::require(!error.empty());
    return 0;
  }
  for (const Entry& entry : *all) {
    const auto inner = content(entry, error);
    if (!inner) continue;
    fuzz::require(inner->size() == entry.uncompressed_size);
    identify(*inner, error);
  }
  for (const Preference preference :
       {Preference::kDevice, Preference::kPtxOnly, Preference::kAnyElf}) {
    const auto small = slim(bytes, 90, preference, error);
    fuzz::require(small.has_value() == (choose(*all, 90, preference) != nullptr));
    if (!small) continue;
    const auto kept = entries(*small, error);
    fuzz::require(kept && kept->size() == 1);
  }
  return 0;
}
