// A native test program: TEST bodies register themselves, main() runs them all, or those whose name
// contains argv[1]. PyPI carries no C++ test framework and the build needs no system package.
#pragma once

#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace check {

struct Case {
  const char* name;
  void (*body)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> list;
  return list;
}
inline int& failures() {
  static int count = 0;
  return count;
}
inline bool add(const char* name, void (*body)()) {
  cases().push_back({name, body});
  return true;
}
inline void fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  ++failures();
}
template <typename A, typename B>
void equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (a == b) return;
  std::ostringstream out;
  if constexpr (requires { out << a << b; }) {
    out << text << ": " << a << " != " << b;
  } else {
    out << text << " differ";
  }
  fail(file, line, out.str());
}

}  // namespace check

#define TEST(name)                                                 \
  static void test_##name();                                       \
  static const bool added_##name = check::add(#name, test_##name); \
  static void test_##name()
#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) check::fail(__FILE__, __LINE__, "false: " #condition); \
  } while (false)
#define CHECK_EQ(a, b) check::equal((a), (b), #a " == " #b, __FILE__, __LINE__)

int main(int argc, char** argv) {
  int run = 0;
  for (const auto& one : check::cases()) {
    if (argc > 1 && std::strstr(one.name, argv[1]) == nullptr) continue;
    const int before = check::failures();
    one.body();
    ++run;
    std::printf("%s %s\n", check::failures() == before ? "ok    " : "FAILED", one.name);
  }
  std::printf("%d tests, %d failed checks\n", run, check::failures());
  return check::failures() == 0 && run > 0 ? 0 : 1;
}
