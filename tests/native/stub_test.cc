// The stub's tables: handles that are never reused, ranges of allocations, visible devices.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "stub/allocation.h"
#include "stub/handles.h"
#include "stub/settings.h"
#include "stub/visible.h"

using namespace vgpu;
using namespace vgpu::stub;

namespace {

struct Thing : Object {
  int value = 0;
};

HandleTable<Thing>& things() {
  static auto* table = new HandleTable<Thing>(wire::HandleKind::kEvent);
  return *table;
}

std::vector<int> visible(const char* list) {
  std::vector<std::unique_ptr<Device>> all;
  for (int i = 0; i < 3; ++i) {
    all.push_back(std::make_unique<Device>());
    all.back()->worker_ordinal = i;
    all.back()->uuid = {static_cast<uint8_t>(0xa0 + i), 1, 2, 3};
  }
  std::vector<int> ordinals;
  for (const auto& device : visible_devices(std::move(all), std::string(list))) {
    ordinals.push_back(device->worker_ordinal);
  }
  return ordinals;
}

}  // namespace

TEST(ids_are_never_reused) {
  Thing* first = things().create();
  const uint64_t id = first->id;
  CHECK(wire::handle_kind(id) == wire::HandleKind::kEvent);
  CHECK(things().find(id) == first);
  CHECK(things().destroy(id));
  CHECK(!things().destroy(id));
  CHECK(things().find(id) == nullptr);
  Thing* second = things().create();
  CHECK(second->id != id);
  CHECK(things().find(id) == nullptr);
  CHECK(things().find(uint64_t{0}) == nullptr);
  CHECK(things().find(~uint64_t{0}) == nullptr);
}

TEST(ranges_of_ids_follow_each_other) {
  const auto range = things().create_range(5000, [](Thing& thing) { thing.value = 7; });
  CHECK_EQ(range.size(), 5000u);
  for (size_t i = 0; i < range.size(); ++i) {
    CHECK_EQ(range[i]->id.load(), range[0]->id.load() + i);
    CHECK(things().find(range[i]->id.load()) == range[i]);
  }
}

TEST(threads_create_and_destroy) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const uint64_t id = things().create()->id;
        if (things().find(id) == nullptr || !things().destroy(id)) ++wrong;
        if (things().find(id) != nullptr) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(allocations_cover_ranges) {
  AllocationMap map;
  map.add({.base = 0x1000, .size = 0x100});
  CHECK(map.covers(0x1000, 0x100));
  CHECK(map.covers(0x10ff, 1));
  CHECK(!map.covers(0x1000, 0x101));
  CHECK(!map.covers(0xfff, 1));
  CHECK(!map.covers(0x1100, 1));
  CHECK(!map.covers(0x1080, ~uint64_t{0}));
  // Neighbouring mappings of virtual memory count as one range; neighbouring allocations do not.
  map.add({.base = 0x2000, .size = 0x1000, .kind = AllocationKind::kMapped});
  map.add({.base = 0x3000, .size = 0x1000, .kind = AllocationKind::kMapped});
  CHECK(map.covers(0x2800, 0x1000));
  CHECK(!map.covers(0x2800, 0x1801));
  map.add({.base = 0x1100, .size = 0x100});
  CHECK(!map.covers(0x1080, 0x100));
  CHECK(map.remove(0x1000).has_value());
  CHECK(!map.remove(0x1000).has_value());
}

TEST(host_ranges_overlap) {
  HostMap map;
  map.add({.base = 0x1000, .size = 0x1000});
  CHECK(map.overlaps(0x1800, 1));
  CHECK(map.overlaps(0x800, 0x801));
  CHECK(!map.overlaps(0x800, 0x800));
  CHECK(!map.overlaps(0x2000, 0x1000));
}

TEST(visible_devices_follow_cuda) {
  CHECK(visible("2,0") == (std::vector<int>{2, 0}));
  CHECK(visible("") == std::vector<int>{});
  CHECK(visible("-1") == std::vector<int>{});
  CHECK(visible("1,-1,0") == std::vector<int>{1});
  CHECK(visible("0,7,1") == std::vector<int>{0});
  CHECK(visible("0,0") == std::vector<int>{});
  CHECK(visible(" 1 , 2 ") == (std::vector<int>{1, 2}));
  CHECK(visible("GPU-a1") == std::vector<int>{1});
  CHECK(visible("GPU-a") == std::vector<int>{});  // ambiguous
  CHECK(visible("GPU-a2010203-0000-0000-0000-000000000000,0") == (std::vector<int>{2, 0}));
}
