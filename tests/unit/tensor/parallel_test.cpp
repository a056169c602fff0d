#include "kernels/tensor/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/tensor/error.h"

namespace panda {
namespace {

TEST(ThreadPool, RunsEveryItemOnceWithAnyThreadCount) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      std::atomic<bool> thread_in_range{true};
      pool.parallel_for(count, [&](int64_t item, int thread) {
        hits[static_cast<size_t>(item)].fetch_add(1);
        if (thread < 0 || thread >= threads) thread_in_range = false;
      });
      for (const auto& hit : hits) EXPECT_EQ(hit.load(), 1);
      EXPECT_TRUE(thread_in_range);
    }
  }
}

/// Short loops one after the other: workers come late to many of them, and find them closed.
TEST(ThreadPool, RunsEveryItemOfManyShortLoopsOnce) {
  for (const int threads : {2, 5}) {
    ThreadPool pool(threads);
    for (int64_t round = 0; round < 3000; ++round) {
      std::vector<int> seen(static_cast<size_t>(1 + round % 7), 0);
      pool.parallel_for(std::ssize(seen), [&](int64_t item, int) { ++seen[static_cast<size_t>(item)]; });
      ASSERT_EQ(seen, std::vector<int>(seen.size(), 1)) << threads << " threads, round " << round;
      if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // workers sleep, too
    }
  }
}

TEST(ThreadPool, UsesMoreThanOneThread) {
  ThreadPool pool(2);
  std::atomic<int> both{0};
  // Each of the two items waits for the other: it ends only if they run at once.
  pool.parallel_for(2, [&](int64_t, int) {
    both.fetch_add(1);
    while (both.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(both.load(), 2);
}

TEST(ThreadPool, RethrowsAndStaysUsable) {
  ThreadPool pool(2);
  EXPECT_THROW(pool.parallel_for(100,
                                 [](int64_t item, int) {
                                   if (item == 37) throw std::runtime_error("37");
                                 }),
               std::runtime_error);
  std::atomic<int64_t> sum{0};
  pool.parallel_for(100, [&](int64_t item, int) { sum.fetch_add(item); });
  EXPECT_EQ(sum.load(), 4950);
}

TEST(ThreadPool, NestedCallsRunInline) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  pool.parallel_for(
      4, [&](int64_t, int) { pool.parallel_for(10, [&](int64_t item, int) { sum.fetch_add(item); }); });
  EXPECT_EQ(sum.load(), 4 * 45);
}

TEST(ThreadPool, RefusesNoThreads) {
  EXPECT_THROW(ThreadPool(0), InvalidArgument);
}

}  // namespace
}  // namespace panda
