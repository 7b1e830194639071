// Snapshots of the map of valid addresses against a plain map, over random changes.
#include "softgpu/memory_map.h"

#include <algorithm>
#include <map>
#include <random>

#include "check.h"

using vgpu::softgpu::find_range;
using vgpu::softgpu::MemoryMap;
using vgpu::softgpu::Range;

namespace {

using Model = std::map<uint64_t, Range>;

bool equal(const std::vector<Range>& ranges, const Model& model) {
  return std::equal(ranges.begin(), ranges.end(), model.begin(), model.end(),
                    [](const Range& found, const Model::value_type& wanted) {
                      return found.begin == wanted.second.begin && found.end == wanted.second.end &&
                             found.writable == wanted.second.writable;
                    });
}

}  // namespace

TEST(snapshots_hold_all_changes_before_them) {
  std::mt19937_64 random(5);
  MemoryMap map;
  Model model;
  for (int round = 0; round < 400; ++round) {
    const auto before = map.snapshot();
    const Model model_before = model;
    for (uint64_t change = random() % 20; change > 0; --change) {
      const uint64_t begin = random() % 200 * 0x100;
      if (random() % 3 == 0) {
        map.remove(begin);
        model.erase(begin);
      } else {
        const uint64_t size = random() % 0x100;  // nothing is added for 0
        const bool writable = random() % 2 == 0;
        map.add(begin, size, writable);
        if (size != 0) model[begin] = Range{begin, begin + size, writable};
      }
    }
    CHECK(equal(*map.snapshot(), model));
    CHECK(equal(*before, model_before));
    CHECK(map.snapshot() == map.snapshot());  // unchanged: readers keep what they have cached
  }
}

TEST(a_range_is_found_by_each_of_its_bytes) {
  MemoryMap map;
  map.add(0x1000, 16);
  map.add(0x2000, 8, false);
  const auto ranges = map.snapshot();
  CHECK(find_range(*ranges, 0x0fff, 1) == nullptr);
  CHECK_EQ(find_range(*ranges, 0x1000, 16)->begin, 0x1000u);
  CHECK_EQ(find_range(*ranges, 0x100f, 1)->begin, 0x1000u);
  CHECK(find_range(*ranges, 0x100f, 2) == nullptr);
  CHECK(find_range(*ranges, 0x1010, 1) == nullptr);
  CHECK(!find_range(*ranges, 0x2007, 1)->writable);
  CHECK(find_range(*ranges, 0x2008, 1) == nullptr);
}
