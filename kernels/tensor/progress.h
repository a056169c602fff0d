// Long work reports how far it is, and each report is a place where it may be stopped.
#pragma once

#include <cstdint>

namespace panda {

/// Asks all long work to stop at its next report. Safe in a signal handler.
void request_interrupt() noexcept;
[[nodiscard]] bool interrupt_requested() noexcept;
/// Throws Interrupted if a stop was asked for.
void check_interrupt();
/// Takes the request back (tests, and programs that go on after it).
void clear_interrupt() noexcept;

/// Receives the progress of long work. The library never prints: the command's progress line is one
/// implementation.
class Progress {
 public:
  virtual ~Progress() = default;
  /// `stage` is a short name ("reading images"); done of total items are finished. Called from one thread at
  /// a time.
  virtual void update(const char* stage, int64_t done, int64_t total) = 0;
};

/// Reports to `progress` (nothing if null), then throws Interrupted if a stop was asked for.
void report_progress(Progress* progress, const char* stage, int64_t done, int64_t total);

}  // namespace panda
