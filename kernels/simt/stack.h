// Stacks of the emulator's threads, and the switch from one to another: assembly on x86-64 and aarch64
// (about ten nanoseconds), ucontext elsewhere. AddressSanitizer is told of every switch.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace panda::kernels::simt::emulator {

/// A suspended computation: a stack and where it stopped. The launching thread's own stack is one whose
/// memory is not ours.
struct Stack {
  void* saved = nullptr;        ///< stack pointer while it does not run
  std::byte* memory = nullptr;  ///< lowest usable byte; a guard page lies below
  size_t bytes = 0;
  void* asan_frames = nullptr;  ///< AddressSanitizer's fake stack while it does not run
#if !defined(__x86_64__) && !defined(__aarch64__)
  ucontext_t context = {};
#endif
};

/// Suspends `from`, which runs, and goes on with `to`. Returns when something switches back.
void switch_stacks(Stack& from, Stack& to);

/// Stacks on each of which `entry` runs, re-used in last-in-first-out order while their pages are in the
/// cache. `entry` never returns and begins with `stack_entered()`.
class StackPool {
 public:
  explicit StackPool(void (*entry)()) : entry_(entry) {}
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  ~StackPool();

  /// A stack that is at the start of `entry`, or where its last user called release().
  [[nodiscard]] Stack& take();
  void release(Stack& stack) { free_.push_back(&stack); }
  /// Puts every stack back to the start of `entry`, whatever was on it: objects there are not destroyed.
  void reset();

 private:
  void prepare(Stack& stack, size_t index) const;

  void (*entry_)();
  std::vector<std::unique_ptr<Stack>> all_;
  std::vector<Stack*> free_;
};

void stack_entered();

}  // namespace panda::kernels::simt::emulator
