/// Golden text files: the expected output stands in tests/golden/. `CKPT_REWRITE_GOLDEN=1 build/debug/bin/plan_test` writes them anew; read the diff.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace ckpt::testing {

/// Compares `text` with the file at `path`, or writes it there when rewriting.
inline void expect_golden(const std::string& path, const std::string& text) {
  if (const char* rewrite = std::getenv("CKPT_REWRITE_GOLDEN"); rewrite != nullptr && std::string(rewrite) == "1") {
    std::ofstream(path, std::ios::binary) << text;
    return;
  }
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file.good()) << path << " is not there: run with CKPT_REWRITE_GOLDEN=1 and read what it writes";
  std::ostringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(text, expected.str()) << "differs from " << path << "; if the new text is right: CKPT_REWRITE_GOLDEN=1";
}

}  // namespace ckpt::testing
