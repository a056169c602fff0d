// The memory of training steps: activations, gradients and temporaries of a tape, in one allocation.
//
// A dry run of the step (a tape that calls no kernel) tells the size and lifetime of every buffer; from then
// on each step takes the same buffers in the same order at their planned places. So the peak is known before
// the first step, and steps allocate nothing. A workspace without a plan gives every buffer an allocation of
// its own.
#pragma once

#include <vector>

#include "kernels/conv2d_backward.h"
#include "kernels/tensor/arena.h"
#include "kernels/tensor/tensor.h"

namespace panda::autograd {

/// Memory in which each convolution of a step packs its filter right before it is used, so that the largest
/// layer's is all that is held, and stays in a cache. For devices that compute when they are called.
struct FilterMemory {
  kernels::Conv2dFilter filter;
  kernels::Conv2dTransposedFilter transposed;
};

class Workspace {
 public:
  explicit Workspace(Device& device) : device_(&device) {}

  [[nodiscard]] Device& device() const { return *device_; }
  [[nodiscard]] FilterMemory& filters() { return filters_; }
  /// Bytes that a planned step takes; 0 without a plan.
  [[nodiscard]] int64_t peak_bytes() const { return arena_bytes_; }
  [[nodiscard]] bool planned() const { return !requests_.empty(); }
  /// Buffers of the planned step.
  [[nodiscard]] int64_t buffer_count() const { return static_cast<int64_t>(requests_.size()); }

 private:
  friend class Tape;
  friend class BufferPool;
  Device* device_;
  std::vector<ArenaRequest> requests_;
  int64_t arena_bytes_ = 0;
  Tensor arena_;
  FilterMemory filters_;
};

/// The buffers of one step.
class BufferPool {
 public:
  enum class Mode { kPlan, kRun };
  BufferPool(Workspace& workspace, Mode mode);
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool() = default;

  /// Index of a new buffer. Throws InvalidArgument if the step differs from the planned one.
  [[nodiscard]] int take(int64_t bytes);
  void give_back(int index) noexcept;
  /// nullptr for 0 bytes; in a plan an address that must not be touched.
  [[nodiscard]] void* pointer(int index) const;
  [[nodiscard]] int64_t bytes_in_use() const { return bytes_in_use_; }
  [[nodiscard]] Mode mode() const { return mode_; }
  /// Writes the plan into the workspace.
  void finish_plan();

 private:
  struct Buffer {
    int64_t bytes = 0;
    int first = 0;
    int last = -1;
    Tensor own;
  };
  Workspace& workspace_;
  Mode mode_;
  std::vector<Buffer> buffers_;
  int clock_ = 0;
  int deviation_ = -1;  ///< first buffer that was not given back when planned
  int64_t bytes_in_use_ = 0;
};

}  // namespace panda::autograd
