// The engine's own thread pool: one fork-join at a time, work items handed out by a counter.
//
// Determinism is the caller's: an item must write only its own part of the output, so that it does not matter
// which thread runs it. Every kernel of the cpu device is cut that way, and gives the same bits for any
// number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace panda {

class ThreadPool {
 public:
  /// `thread_count` >= 1, the caller's thread included.
  explicit ThreadPool(int thread_count);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  [[nodiscard]] int thread_count() const;

  /// Calls body(item, thread) for every item in [0, count), and returns when all are done. The first
  /// exception is rethrown here; items not yet begun are dropped. Within one call `thread` is in [0,
  /// thread_count()) and no two items run at once with the same one: it indexes scratch that belongs to this
  /// call. A call from inside a body, or while another caller's loop runs, runs in the calling thread alone,
  /// as thread 0.
  template <typename Body>
  void parallel_for(int64_t count, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        count, [](void* context, int64_t item, int thread) { (*static_cast<Plain*>(context))(item, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* context, int64_t item, int thread);
  void run(int64_t count, Call call, void* context);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Threads the machine offers this process (its affinity mask), at least 1.
[[nodiscard]] int available_threads();

}  // namespace panda
