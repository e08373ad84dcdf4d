#include "transfer/ucx/copy_threads.h"

#include <gtest/gtest.h>

#include <atomic>

namespace ckpt {
namespace {

TEST(CopyThreads, WhatWasPushedRunsBeforeTheEnd) {
  for (const unsigned num_threads : {1u, 3u}) {
    std::atomic<int> ran{0};
    CopyThreads threads(num_threads);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(threads.push([&ran] { ++ran; }));
    threads.stop();
    EXPECT_EQ(ran, 100);
    EXPECT_FALSE(threads.push([&ran] { ++ran; }));
    threads.stop();
    EXPECT_EQ(ran, 100);
  }
}

TEST(CopyThreads, WithoutAThreadNothingIsTaken) {
  CopyThreads none(0);
  EXPECT_FALSE(none.push([] {}));
}

}  // namespace
}  // namespace ckpt
