// Runs a fuzz target on its seeds and on seeded mutations of them.
//
//   fuzz_fatbin [--rounds N] [--seed S] [--only ROUND] [--save FILE] [FILES...]
//
// FILES join the seeds. --only repeats one round; --save writes that round's input.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz.h"

// Only sanitizers define it.
extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());

namespace {

constexpr uint64_t kDefaultRounds = 20000;
constexpr size_t kMaxInput = 1 << 20;
// A target that needs longer for so little input has found something quadratic.
constexpr double kMaxSeconds = 5;

struct Random {
  uint64_t state;
  uint64_t next() {
    state += 0x9E3779B97F4A7C15;  // splitmix64
    uint64_t x = state;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
  }
  size_t below(size_t limit) { return limit == 0 ? 0 : next() % limit; }
};

constexpr uint64_t kInteresting[] = {
    0,       1,          2,      4,          8,         16,      0x7F,       0x80,
    0xFF,    0x100,      0x7FFF, 0x8000,     0xFFFF,    0x10000, 0x7FFFFFFF, 0x80000000,
    1 << 20, 0xFFFFFFFF, 63,     UINT64_MAX, INT64_MAX, 64};

void overwrite(fuzz::Input& input, Random& random) {
  const size_t width = size_t{1} << random.below(4);
  if (input.size() < width) return;
  const uint64_t value = kInteresting[random.below(std::size(kInteresting))];
  // Fields are aligned more often than not.
  size_t at = random.below(input.size() - width + 1);
  if (random.below(3) != 0) at -= at % width;
  std::memcpy(input.data() + at, &value, width);
}

void mutate_once(fuzz::Input& input, Random& random, const std::vector<fuzz::Input>& seeds) {
  const size_t at = random.below(input.size());
  switch (random.below(8)) {
    case 0:
      if (!input.empty()) input[at] ^= static_cast<uint8_t>(1u << random.below(8));
      break;
    case 1:
      if (!input.empty()) input[at] = static_cast<uint8_t>(random.next());
      break;
    case 2:
      input.resize(at);
      break;
    case 3: {  // insert a part of a seed
      const fuzz::Input& other = seeds[random.below(seeds.size())];
      const size_t from = random.below(other.size()), size = random.below(other.size() - from + 1);
      if (input.size() + size <= kMaxInput) {
        input.insert(input.begin() + static_cast<ptrdiff_t>(at), other.begin() + from,
                     other.begin() + from + size);
      }
      break;
    }
    case 4: {  // remove a part
      const size_t size = random.below(std::min<size_t>(input.size() - at, 64) + 1);
      input.erase(input.begin() + at, input.begin() + at + size);
      break;
    }
    default:
      overwrite(input, random);
  }
}

fuzz::Input make(uint64_t seed, uint64_t round, const std::vector<fuzz::Input>& seeds) {
  if (round < seeds.size()) return seeds[round];
  Random random{seed * 0x100000001B3 + round};
  fuzz::Input input = seeds[random.below(seeds.size())];
  if (fuzz::mutated != nullptr && random.below(8) != 0) {
    return fuzz::mutated(input, seeds[random.below(seeds.size())], random.next());
  }
  const size_t changes = 1 + random.below(6);
  for (size_t i = 0; i < changes; ++i) mutate_once(input, random, seeds);
  return input;
}

struct Options {
  uint64_t rounds = kDefaultRounds, seed = 1, only = UINT64_MAX;
  std::string save;
  std::vector<std::string> files;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (!argument.starts_with("--")) {
      options.files.push_back(argument);
      continue;
    }
    if (i + 1 == argc) return false;
    const char* value = argv[++i];
    if (argument == "--save") {
      options.save = value;
    } else if (argument == "--rounds" || argument == "--seed" || argument == "--only") {
      uint64_t& target = argument == "--rounds" ? options.rounds
                         : argument == "--seed" ? options.seed
                                                : options.only;
      target = std::strtoull(value, nullptr, 10);
    } else {
      return false;
    }
  }
  return true;
}

volatile uint64_t current_round = 0;

// Says which round to repeat, with calls that a signal handler may make.
void report_round() {
  char text[64] = "fuzz: died in round ";
  char digits[24];
  size_t count = 0, length = std::strlen(text);
  for (uint64_t value = current_round; count == 0 || value != 0; value /= 10) {
    digits[count++] = static_cast<char>('0' + value % 10);
  }
  while (count != 0) text[length++] = digits[--count];
  text[length++] = '\n';
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, length);
}
void report_deaths() {
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(report_round);
    return;
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGABRT, SIGFPE}) {
    std::signal(signal, [](int number) {
      report_round();
      std::signal(number, SIG_DFL);
      std::raise(number);
    });
  }
}

// The heap block is exactly as long as the input, so that a sanitizer sees a read behind its end.
bool run(const fuzz::Input& input, uint64_t round) {
  const fuzz::Input exact(input.begin(), input.end());
  const auto begin = std::chrono::steady_clock::now();
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
  if (spent.count() <= kMaxSeconds) return true;
  std::fprintf(stderr, "round %llu took %.1f s for %zu bytes\n",
               static_cast<unsigned long long>(round), spent.count(), exact.size());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (fuzz::default_rounds != nullptr) options.rounds = fuzz::default_rounds();
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: %s [--rounds N] [--seed S] [--only ROUND] [--save FILE] [FILES...]\n",
                 argv[0]);
    return 2;
  }
  std::vector<fuzz::Input> seeds = fuzz::seeds();
  for (const std::string& path : options.files) {
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (options.only != UINT64_MAX) {
    const fuzz::Input input = make(options.seed, options.only, seeds);
    if (!options.save.empty()) {
      std::ofstream(options.save, std::ios::binary)
          .write(reinterpret_cast<const char*>(input.data()),
                 static_cast<std::streamsize>(input.size()));
    }
    return run(input, options.only) ? 0 : 1;
  }
  report_deaths();
  for (uint64_t round = 0; round < options.rounds; ++round) {
    current_round = round;
    if (!run(make(options.seed, round, seeds), round)) return 1;
  }
  std::printf("%llu rounds from seed %llu, %zu seeds\n",
              static_cast<unsigned long long>(options.rounds),
              static_cast<unsigned long long>(options.seed), seeds.size());
  return 0;
}
