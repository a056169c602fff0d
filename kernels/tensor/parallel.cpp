#include "kernels/tensor/parallel.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/tensor/error.h"

namespace panda {

namespace {

thread_local bool inside_parallel_for = false;

// A network's forward pass forks some fifty times in a few milliseconds; waking a sleeping thread costs 10-50 us. Threads
// spin for about that long before they sleep: by the clock, because a pause takes from 1 to 100 ns, machine by machine.
constexpr std::chrono::microseconds kSpinTime{50};

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Returns when `done()` or when kSpinTime has passed. The thread that is waited for may want this very
/// processor.
template <typename Done>
void spin_until(Done&& done) {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int round = 0; round < 64; ++round) {
      if (done()) return;
      pause_briefly();
    }
    sched_yield();
  } while (std::chrono::steady_clock::now() - start < kSpinTime);
}

}  // namespace

struct ThreadPool::Impl {
  std::vector<std::thread> workers;
  std::mutex caller_mutex;  // one fork-join at a time

  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable done;
  std::atomic<uint64_t> generation{0};
  // A loop is over when its items are done: a worker that has not woken up by then finds it closed, and is
  // not waited for. Whoever is `inside` may have seen it open.
  std::atomic<bool> open{false};
  std::atomic<int> inside{0};
  bool stopping = false;

  // The current loop; written while it is closed and no one inside can have seen another one open.
  int64_t count = 0;
  Call call = nullptr;
  void* context = nullptr;
  std::atomic<int64_t> next{0};
  std::exception_ptr error;

  void work(int thread) {
    inside_parallel_for = true;
    for (int64_t item = next.fetch_add(1); item < count; item = next.fetch_add(1)) {
      try {
        call(context, item, thread);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        next.store(count);
      }
    }
    inside_parallel_for = false;
  }

  void worker_loop(int thread) {
    uint64_t seen = 0;
    for (;;) {
      spin_until([&] { return generation.load() != seen; });
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stopping || generation.load() != seen; });
        if (stopping) return;
        seen = generation.load();
      }
      inside.fetch_add(1);
      if (open.load()) work(thread);
      if (inside.fetch_sub(1) == 1) {
        const std::lock_guard lock(mutex);
        done.notify_one();
      }
    }
  }
};

ThreadPool::ThreadPool(int thread_count) : impl_(std::make_unique<Impl>()) {
  PANDA_CHECK(thread_count >= 1 && thread_count <= 4096, "threads must be in 1..4096, got ", thread_count);
  for (int thread = 1; thread < thread_count; ++thread) {
    impl_->workers.emplace_back([this, thread] { impl_->worker_loop(thread); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    impl_->generation.fetch_add(1);
  }
  impl_->wake.notify_all();
  for (std::thread& worker : impl_->workers) worker.join();
}

int ThreadPool::thread_count() const {
  return static_cast<int>(impl_->workers.size()) + 1;
}

void ThreadPool::run(int64_t count, Call call, void* context) {
  if (count <= 0) return;
  std::unique_lock caller(impl_->caller_mutex, std::defer_lock);
  if (inside_parallel_for || impl_->workers.empty() || count == 1 || !caller.try_lock()) {
    for (int64_t item = 0; item < count; ++item) call(context, item, 0);
    return;
  }
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->count = count;
    impl_->call = call;
    impl_->context = context;
    impl_->next.store(0);
    impl_->error = nullptr;
    impl_->open.store(true);
    impl_->generation.fetch_add(1);
  }
  impl_->wake.notify_all();
  impl_->work(0);
  impl_->open.store(false);
  spin_until([&] { return impl_->inside.load() == 0; });
  std::unique_lock lock(impl_->mutex);
  impl_->done.wait(lock, [&] { return impl_->inside.load() == 0; });
  if (impl_->error) std::rethrow_exception(impl_->error);
}

int available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace panda
