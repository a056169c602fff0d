#include "kernels/tensor/progress.h"

#include <atomic>

#include "kernels/tensor/error.h"

namespace panda {

namespace {
std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "request_interrupt must be safe in a signal handler");
}  // namespace

void request_interrupt() noexcept {
  stop_requested.store(true);
}
bool interrupt_requested() noexcept {
  return stop_requested.load();
}
void clear_interrupt() noexcept {
  stop_requested.store(false);
}
void check_interrupt() {
  if (interrupt_requested()) throw Interrupted();
}

void report_progress(Progress* progress, const char* stage, int64_t done, int64_t total) {
  if (progress != nullptr) progress->update(stage, done, total);
  check_interrupt();
}

}  // namespace panda
