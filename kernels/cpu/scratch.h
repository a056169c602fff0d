// Temporary memory of the cpu device's kernels: taken and given back per call, kept between calls so that a
// forward pass allocates nothing after its first run. Any number of calls may hold memory at once.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/tensor/tensor.h"

namespace panda::kernels::cpu {

class ScratchCache;

/// Memory held by one call; given back to the cache by the destructor. 64-byte aligned, contents undefined.
class Scratch {
 public:
  Scratch() = default;
  Scratch(ScratchCache& cache, std::unique_ptr<Storage> storage)
      : cache_(&cache), storage_(std::move(storage)) {}
  Scratch(Scratch&&) = default;
  Scratch& operator=(Scratch&& other) noexcept {
    std::swap(cache_, other.cache_);
    storage_.swap(other.storage_);
    return *this;
  }
  ~Scratch();

  template <typename T>
  [[nodiscard]] T* data() const {
    return static_cast<T*>(storage_->data());
  }

 private:
  ScratchCache* cache_ = nullptr;
  std::unique_ptr<Storage> storage_;
};

class ScratchCache {
 public:
  explicit ScratchCache(Device& device) : device_(device) {}

  /// At least `bytes` bytes: the smallest kept block that holds them, else a new one. Throws OutOfMemory.
  [[nodiscard]] Scratch take(int64_t bytes);
  template <typename T>
  [[nodiscard]] Scratch take_array(int64_t count) {
    return take(count * static_cast<int64_t>(sizeof(T)));
  }

 private:
  friend class Scratch;
  void give_back(std::unique_ptr<Storage> storage) noexcept;

  Device& device_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Storage>> kept_;
};

}  // namespace panda::kernels::cpu
