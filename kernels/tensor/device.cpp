#include "kernels/tensor/device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/parallel.h"

namespace panda {

namespace {
constexpr int64_t kAlignment = 64;  // one cache line, one AVX-512 register
constexpr int64_t kHugePage = int64_t{2} << 20;
std::string mib(int64_t bytes) {
  return text((bytes + (1 << 20) - 1) >> 20, " MiB");
}
}  // namespace

void* Device::allocate(int64_t bytes, const char* label) {
  PANDA_CHECK(bytes >= 0, "allocate: ", bytes, " bytes for ", label);
  if (bytes == 0) return nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (bytes > memory_limit_ - report_.bytes_in_use) {
      throw OutOfMemory(text(name(), ": out of memory: ", mib(bytes), " for ", label, " over the limit of ",
                             mib(memory_limit_)));
    }
    report_.bytes_in_use += bytes;
    report_.peak_bytes = std::max(report_.peak_bytes, report_.bytes_in_use);
    report_.bytes_by_label[label] += bytes;
  }
  const auto take_back = [&] {
    const std::lock_guard lock(mutex_);
    report_.bytes_in_use -= bytes;
    report_.bytes_by_label[label] -= bytes;
  };
  void* pointer = nullptr;
  try {
    pointer = allocate_bytes(bytes);
  } catch (...) {
    take_back();
    throw;
  }
  if (pointer == nullptr) {
    take_back();
    throw OutOfMemory(text(name(), ": out of memory: cannot allocate ", mib(bytes), " for ", label));
  }
  return pointer;
}

void Device::free(void* pointer, int64_t bytes, const char* label) noexcept {
  if (pointer == nullptr) return;
  free_bytes(pointer, bytes);
  const std::lock_guard lock(mutex_);
  report_.bytes_in_use -= bytes;
  report_.bytes_by_label[label] -= bytes;
}

MemoryReport Device::memory_report() const {
  const int64_t reserved = reserved_bytes();
  const std::lock_guard lock(mutex_);
  MemoryReport report = report_;
  report.reserved_bytes = reserved < 0 ? report.bytes_in_use : reserved;
  return report;
}

void Device::copy_on_device(void* destination, const void* source, int64_t bytes) {
  std::vector<char> staging(static_cast<size_t>(bytes));
  copy_to_host(staging.data(), source, bytes);
  copy_from_host(destination, staging.data(), bytes);
}

std::unique_ptr<Recording> Device::record(const std::function<void()>&) {
  throw Unsupported(text(name(), ": does not record work"));
}

void HostMemoryDevice::copy_from_host(void* device_destination, const void* source, int64_t bytes) {
  if (bytes > 0) std::memcpy(device_destination, source, static_cast<size_t>(bytes));
}

void HostMemoryDevice::copy_to_host(void* destination, const void* device_source, int64_t bytes) {
  if (bytes > 0) std::memcpy(destination, device_source, static_cast<size_t>(bytes));
}

void HostMemoryDevice::fill(void* destination, uint8_t value, int64_t bytes) {
  if (bytes > 0) std::memset(destination, value, static_cast<size_t>(bytes));
}

void* HostMemoryDevice::allocate_bytes(int64_t bytes) {
  if (bytes > INT64_MAX - kHugePage) return nullptr;
  const bool large = bytes >= 2 * kHugePage;
  const int64_t alignment = large ? kHugePage : kAlignment;
  void* pointer =
      std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(round_up(bytes, alignment)));
  // Weights and activations are walked end to end; huge pages save the page walks. A refusal changes nothing.
  if (large && pointer != nullptr)
    (void)madvise(pointer, static_cast<size_t>(round_up(bytes, alignment)), MADV_HUGEPAGE);
  return pointer;
}

void HostMemoryDevice::free_bytes(void* pointer, int64_t) noexcept {
  std::free(pointer);
}

namespace {

class Host final : public HostMemoryDevice {
 public:
  [[nodiscard]] std::string name() const override { return "host"; }
  [[nodiscard]] std::string description() const override { return "host memory"; }
  [[nodiscard]] const kernels::KernelTable& kernels() const override {
    throw Unsupported("host: plain memory, it has no kernels; copy the tensor to a device first");
  }
  [[nodiscard]] Layout activation_layout() const override { return Layout::kDense; }
  [[nodiscard]] ThreadPool& threads() override { return threads_; }

 private:
  ThreadPool threads_{1};
};

}  // namespace

Device& host() {
  // Never destroyed: tensors of static lifetime may free into it after main returns.
  static Host* const instance = new Host();
  return *instance;
}

}  // namespace panda
