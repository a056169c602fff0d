#include "kernels/simt/runtime.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/simt/race.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::simt {

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace emulator {

namespace {

// A loop that waits for another thread gets its turn at least once per 1024 yields; this many without any
// other event is a wait that nothing will end.
constexpr int kMaxIdleYields = 100000;

void run_threads() {
  stack_entered();
  runtime.thread_loop();
}

bool same_site(const Site& a, const Site& b) {
  return a.line == b.line && std::strcmp(a.operation, b.operation) == 0 &&
         (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string index_text(const uint3& index) {
  return text("(", index.x, ",", index.y, ",", index.z, ")");
}

}  // namespace

Runtime runtime;

Runtime::Runtime() : stacks(run_threads) {}

std::string thread_name(const Thread& thread) {
  return text("block ", index_text(blockIdx), ", thread ", index_text(thread.index));
}

std::string hex(uint32_t mask) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string digits = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) digits += kDigits[mask >> shift & 15];
  return digits;
}

std::string site_name(const Site& site) {
  return text(site.operation, " at ", site.file, ":", site.line);
}

std::string launch_name() {
  return text("simt: ", runtime.kernel, ", order ", order_name(runtime.order, runtime.seed), ": ");
}

void fail(const Site& site, const std::string& what) {
  throw InternalError(text(launch_name(), thread_name(*runtime.current), ": ", site_name(site), ": ", what));
}

void ReadyQueue::start(Order order, uint64_t seed) {
  head_ = 0;
  count_ = 0;
  order_ = order;
  random_ = seed * 0x9e3779b97f4a7c15u + 1;  // odd multiplier and offset: not 0 for any small seed
}

void ReadyQueue::push(Thread& thread) {
  ring_[(head_ + count_++) % kCapacity] = &thread;
}

void ReadyQueue::push_last(Thread& thread) {
  if (order_ == Order::kReverse) {
    head_ = (head_ + kCapacity - 1) % kCapacity;
    ring_[head_] = &thread;
    ++count_;
  } else {
    push(thread);
  }
}

Thread& ReadyQueue::take() {
  --count_;
  if (order_ == Order::kReverse) return *ring_[(head_ + count_) % kCapacity];
  const uint32_t head = head_;
  head_ = (head_ + 1) % kCapacity;
  if (order_ == Order::kRandom) {
    random_ ^= random_ << 13;  // xorshift64
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    const auto drawn = static_cast<uint32_t>((random_ >> 32) * (count_ + 1) >> 32);
    std::swap(ring_[head], ring_[(head + drawn) % kCapacity]);
  }
  return *ring_[head];
}

void Runtime::make_current(Thread& thread) {
  current = &thread;
  threadIdx = thread.index;
}

Thread* Runtime::next_thread() {
  if (!ready.empty()) return &ready.take();
  if (live == 0) return nullptr;
  std::string waiting;
  int listed = 0;
  for (const Thread& thread : threads) {
    if (thread.state != ThreadState::kAtBarrier && thread.state != ThreadState::kAtRendezvous) continue;
    if (++listed <= 4) {
      waiting += text("; thread ", index_text(thread.index), " at ", site_name(thread.site));
      if (thread.state == ThreadState::kAtRendezvous) waiting += text(", mask ", hex(thread.mask));
    }
  }
  if (listed > 4) waiting += text("; and ", listed - 4, " more");
  error = std::make_exception_ptr(InternalError(
      text(launch_name(), "block ", index_text(blockIdx), ": deadlock, ", live, " threads wait", waiting)));
  return nullptr;
}

void Runtime::suspend() {
  Thread& self = *current;
  Thread* next = next_thread();
  if (next == &self) return;
  if (next == nullptr) {
    switch_stacks(*self.stack, launcher);  // for good
    std::abort();
  }
  if (next->stack == nullptr) next->stack = &stacks.take();
  make_current(*next);
  switch_stacks(*self.stack, *next->stack);
}

void Runtime::end_thread() {
  Thread& self = *current;
  if (!self.copies.empty()) fail(self.copies.front().site, "the thread ended before cp_async_wait");
  if (!self.products.empty()) fail(self.products.front().site, "the thread ended before wgmma_wait");
  self.state = ThreadState::kDone;
  --live;
  idle_yields = 0;
  self.warp->exited |= 1u << self.lane;
  for (const Meeting& meeting : self.warp->meetings) {
    if ((meeting.mask >> self.lane & 1) != 0)
      fail(meeting.site,
           text("the thread ended while other lanes of mask ", hex(meeting.mask), " wait for it"));
  }
  if (at_barrier > 0) fail(barrier_site, "the thread ended while others wait for it");
}

// What every stack runs: threads from their first to their last instruction, one after another; a thread
// that waits keeps the stack until it is done.
void Runtime::thread_loop() {
  for (;;) {
    Stack& here = *current->stack;
    Thread* next = nullptr;
    try {
      body(context);
      end_thread();
      next = next_thread();
    } catch (...) {
      error = std::current_exception();
    }
    if (next != nullptr && next->stack == nullptr) {
      next->stack = &here;
      make_current(*next);
      continue;
    }
    stacks.release(here);
    if (next != nullptr) make_current(*next);
    switch_stacks(here, next != nullptr ? *next->stack : launcher);
  }
}

void Runtime::start_block(dim3 block) {
  const auto count = static_cast<int>(block.x * block.y * block.z);
  threads.resize(static_cast<size_t>(count));
  warps.resize(static_cast<size_t>((count + 31) / 32));
  for (size_t w = 0; w < warps.size(); ++w) {
    const int lanes = std::min(32, count - static_cast<int>(w) * 32);
    warps[w].lanes = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    warps[w].exited = 0;
    warps[w].first_thread = static_cast<int>(w) * 32;
    warps[w].meetings.clear();
  }
  uint3 index = {0, 0, 0};
  for (int i = 0; i < count; ++i) {
    Thread& thread = threads[static_cast<size_t>(i)];
    thread.stack = nullptr;
    thread.warp = &warps[static_cast<size_t>(i / 32)];
    thread.index = index;
    thread.linear = i;
    thread.lane = i % 32;
    thread.state = ThreadState::kReady;
    thread.copy_groups = 0;
    thread.copies.clear();
    thread.product_groups = 0;
    thread.products.clear();
    ready.push(thread);
    if (++index.x == block.x) {
      index.x = 0;
      if (++index.y == block.y) {
        index.y = 0;
        ++index.z;
      }
    }
  }
  live = count;
  at_barrier = 0;
  barrier_votes = 0;
  idle_yields = 0;
  bulk_copies.clear();
  bulk_random = seed;
  for (SharedVariable& variable : shared) variable.live = false;
  if (dynamic != nullptr) std::memset(dynamic->data(), poison, dynamic->bytes());
  race::block_started(threads.size());
}

void Runtime::finish_block() {
  race::report();
  if (!bulk_copies.empty()) {
    throw InternalError(text(launch_name(), "block ", index_text(blockIdx), ": ",
                             site_name(bulk_copies.front().site),
                             ": the block ended before its bytes arrived"));
  }
  for (const SharedVariable& variable : shared) {
    const std::string damage = variable.block.damage();
    if (!damage.empty()) {
      throw InternalError(text(launch_name(), "block ", index_text(blockIdx), ": shared variable ",
                               variable.name, " at ", variable.file, ":", variable.line, ": ", damage));
    }
  }
  if (dynamic != nullptr && !dynamic->damage().empty()) {
    throw InternalError(text(launch_name(), "block ", index_text(blockIdx), ": dynamic shared memory of ",
                             dynamic->bytes(), " bytes: ", dynamic->damage()));
  }
}

void Runtime::run_block(dim3 block) {
  start_block(block);
  Thread& first = ready.take();
  first.stack = &stacks.take();
  make_current(first);
  switch_stacks(launcher, *first.stack);
  if (error != nullptr) {
    stacks.reset();
    std::rethrow_exception(std::exchange(error, nullptr));
  }
  finish_block();
}

int barrier(bool predicate, const Site& site) {
  Runtime& r = runtime;
  Thread& self = *r.current;
  if (r.at_barrier == 0) {
    r.barrier_site = site;
  } else if (!same_site(site, r.barrier_site)) {
    fail(site, text("other threads of the block wait at ", site_name(r.barrier_site)));
  }
  if (r.live != static_cast<int>(r.threads.size()))
    fail(site,
         text(static_cast<int>(r.threads.size()) - r.live, " threads of the block have ended before it"));
  r.barrier_votes += predicate ? 1 : 0;
  self.site = site;
  if (++r.at_barrier == r.live) {
    r.at_barrier = 0;
    r.barrier_result = std::exchange(r.barrier_votes, 0);
    r.idle_yields = 0;
    race::block_barrier();
    for (Thread& thread : r.threads) {
      thread.state = ThreadState::kReady;
      r.ready.push(thread);
    }
  } else {
    self.state = ThreadState::kAtBarrier;
  }
  r.suspend();
  return r.barrier_result;
}

namespace {

void check_mask(const Thread& self, uint32_t mask, const Site& site) {
  const Warp& warp = *self.warp;
  if ((mask >> self.lane & 1) == 0)
    fail(site, text("lane ", self.lane, " is not in its own mask ", hex(mask)));
  if ((mask & ~warp.lanes) != 0) {
    fail(site, text("mask ", hex(mask), " names lanes that the warp does not have: it has ",
                    std::popcount(warp.lanes)));
  }
  if ((mask & warp.exited) != 0) {
    fail(site,
         text("mask ", hex(mask), " names lane ", std::countr_zero(mask & warp.exited), ", which has ended"));
  }
}

}  // namespace

void rendezvous(uint32_t mask, void* operands, Completion complete, const Site& site) {
  Runtime& r = runtime;
  Thread& self = *r.current;
  Warp& warp = *self.warp;
  check_mask(self, mask, site);
  auto meeting = std::find_if(warp.meetings.begin(), warp.meetings.end(),
                              [&](const Meeting& one) { return one.mask == mask; });
  if (meeting == warp.meetings.end()) {
    warp.meetings.push_back({mask, 0, site});
    meeting = warp.meetings.end() - 1;
  } else if (!same_site(site, meeting->site)) {
    fail(site, text("other lanes of mask ", hex(mask), " wait at ", site_name(meeting->site)));
  }
  self.operands = operands;
  self.mask = mask;
  self.site = site;
  meeting->arrived |= 1u << self.lane;
  if (meeting->arrived == mask) {
    *meeting = warp.meetings.back();
    warp.meetings.pop_back();
    r.idle_yields = 0;
    void* all[32] = {};
    Thread* const lanes = &r.threads[static_cast<size_t>(warp.first_thread)];
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      all[lane] = lanes[lane].operands;
      lanes[lane].state = ThreadState::kReady;
      r.ready.push(lanes[lane]);
    }
    complete(mask, all);
  } else {
    self.state = ThreadState::kAtRendezvous;
  }
  r.suspend();
}

void yield(const Site& site) {
  Runtime& r = runtime;
  if (++r.idle_yields > kMaxIdleYields)
    fail(site, text("waited ", kMaxIdleYields, " times and nothing happened"));
  r.current->site = site;
  r.ready.push_last(*r.current);
  r.suspend();
}

int thread_index() {
  return runtime.current->linear;
}

int lane_index() {
  return runtime.current->lane;
}

int compute_capability() {
  return runtime.compute_capability;
}

unsigned char poison_byte() {
  return runtime.poison;
}

void require_capability(int minimum, const Site& site) {
  if (runtime.compute_capability < minimum) {
    fail(site, text("needs compute capability ", minimum, ", the device has ", runtime.compute_capability));
  }
}

}  // namespace emulator
}  // namespace panda::kernels::simt
