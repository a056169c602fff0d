#include "kernels/simt/stack.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "kernels/tensor/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// panda_simt_switch(void** save, void* load): pushes what a call must preserve, stores the stack pointer in
// *save, takes `load` for it, pops and returns there.
#if defined(__x86_64__)
extern "C" void panda_simt_switch(void** save, void* load);
asm(R"(
.text
.p2align 4
.type panda_simt_switch, @function
.globl panda_simt_switch
.hidden panda_simt_switch
panda_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size panda_simt_switch, . - panda_simt_switch
)");
#elif defined(__aarch64__)
extern "C" void panda_simt_switch(void** save, void* load);
asm(R"(
.text
.p2align 4
.type panda_simt_switch, %function
.globl panda_simt_switch
.hidden panda_simt_switch
panda_simt_switch:
  stp x29, x30, [sp, #-160]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  ldp x29, x30, [sp], #160
  ret
.size panda_simt_switch, . - panda_simt_switch
)");
#endif

namespace panda::kernels::simt::emulator {

namespace {

// Instrumented frames are several times larger.
#if defined(__SANITIZE_ADDRESS__) || defined(PANDA_RACE_CHECK)
constexpr size_t kStackBytes = 256 * 1024;
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif

// Stacks are a power of two apart, so that their tops would compete for the same cache sets: each begins a
// little lower than the last.
constexpr size_t kColors = 32;
constexpr size_t kColorBytes = 128;

Stack* switching_from = nullptr;
Stack* switching_to = nullptr;

}  // namespace

void stack_entered() {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(switching_to->asan_frames, &bottom, &bytes);
  // How the launching thread's bounds become known.
  switching_from->memory = static_cast<std::byte*>(const_cast<void*>(bottom));
  switching_from->bytes = bytes;
#endif
}

void switch_stacks(Stack& from, Stack& to) {
  switching_from = &from;
  switching_to = &to;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.asan_frames, to.memory, to.bytes);
#endif
#if defined(__x86_64__) || defined(__aarch64__)
  panda_simt_switch(&from.saved, to.saved);
#else
  swapcontext(&from.context, &to.context);
#endif
  stack_entered();
}

StackPool::~StackPool() {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const std::unique_ptr<Stack>& stack : all_) munmap(stack->memory - page, stack->bytes + page);
}

Stack& StackPool::take() {
  if (!free_.empty()) {
    Stack& stack = *free_.back();
    free_.pop_back();
    return stack;
  }
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0)
    throw OutOfMemory("simt: no memory for the stack of an emulated thread");
  auto stack = std::make_unique<Stack>();
  stack->memory = static_cast<std::byte*>(memory) + page;
  stack->bytes = kStackBytes;
  prepare(*stack, all_.size());
  all_.push_back(std::move(stack));
  free_.reserve(all_.size());  // release() must not fail
  return *all_.back();
}

void StackPool::reset() {
  free_.clear();
  for (size_t i = all_.size(); i-- > 0;) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(all_[i]->memory, all_[i]->bytes);
#endif
    prepare(*all_[i], i);
    free_.push_back(all_[i].get());
  }
}

void StackPool::prepare(Stack& stack, size_t index) const {
  stack.asan_frames = nullptr;
  std::byte* top = stack.memory + stack.bytes - (index % kColors) * kColorBytes;
#if defined(__x86_64__)
  // Seen from `entry`, a call from address 0, at which unwinders and debuggers stop: below it the entry, to
  // which the switch returns, and six registers.
  uintptr_t frame[8] = {};
  frame[6] = reinterpret_cast<uintptr_t>(entry_);
  top -= 16;  // a function starts with its return address 8 below a multiple of 16
  std::memcpy(top + 8 - 7 * 8, frame, sizeof frame);
  stack.saved = top + 8 - 7 * 8;
#elif defined(__aarch64__)
  uintptr_t frame[20] = {};
  frame[1] = reinterpret_cast<uintptr_t>(entry_);  // x30; x29 = 0 ends a backtrace
  std::memcpy(top - sizeof frame, frame, sizeof frame);
  stack.saved = top - sizeof frame;
#else
  getcontext(&stack.context);
  stack.context.uc_stack.ss_sp = stack.memory;
  stack.context.uc_stack.ss_size = static_cast<size_t>(top - stack.memory);
  stack.context.uc_link = nullptr;
  makecontext(&stack.context, entry_, 0);
#endif
}

}  // namespace panda::kernels::simt::emulator
