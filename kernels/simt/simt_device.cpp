#include "kernels/simt/simt_device.h"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include "kernels/cuda/gpu_kernels.h"
#include "kernels/simt/race.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::simt {

std::string order_name(Order order, uint64_t seed) {
  switch (order) {
    case Order::kFifo:
      return "fifo";
    case Order::kReverse:
      return "reverse";
    case Order::kRandom:
      return text("random:", seed);
  }
  throw InternalError("unknown order of threads");
}

void set_order(SimtOptions& options, const std::string& name) {
  if (name == "fifo") {
    options.order = Order::kFifo;
  } else if (name == "reverse") {
    options.order = Order::kReverse;
  } else if (name == "random") {
    options.order = Order::kRandom;
  } else {
    const std::string prefix = "random:";
    const std::string digits = name.starts_with(prefix) ? name.substr(prefix.size()) : "";
    PANDA_CHECK(
        !digits.empty() && digits.size() <= 18 && digits.find_first_not_of("0123456789") == digits.npos,
        "simt order '", printable(name), "', expected fifo, reverse, random or random:SEED");
    options.order = Order::kRandom;
    options.seed = std::stoull(digits);
  }
}

void set_poison(SimtOptions& options, const std::string& name) {
  PANDA_CHECK(name == "nan" || name == "finite", "simt poison '", printable(name),
              "', expected nan or finite");
  options.poison = name == "nan" ? Poison::kNan : Poison::kFinite;
}

std::string SimtDevice::description() const {
  return text("CUDA kernels emulated on one thread, sm_", options_.properties.compute_capability, ", order ",
              order_name(options_.order, options_.seed), ", ", precision_name(precision()));
}

const KernelTable& SimtDevice::kernels() const {
  static const KernelTable table = [] {
    KernelTable filled;
#define PANDA_GPU_KERNEL(name) filled.name = simt::name;
#include "kernels/cuda/gpu_kernel_list.def"
#undef PANDA_GPU_KERNEL
    return filled;
  }();
  return table;
}

unsigned char SimtDevice::poison_byte() const {
  return options_.poison == Poison::kNan ? 0xff : 0x7b;
}

namespace {

void give_back(void* block) {
  emulator::race::device_memory_freed(block);
  std::free(static_cast<unsigned char*>(block) - emulator::race::kDeviceBand);
}

}  // namespace

/// The steps, and the memory that they freed: its addresses are in them.
class SimtDevice::StepRecording final : public Recording {
 public:
  StepRecording() = default;
  ~StepRecording() override {
    for (void* block : blocks) give_back(block);
  }
  void replay() override {
    for (const std::function<void()>& step : steps) step();
  }
  std::vector<std::function<void()>> steps;
  std::vector<void*> blocks;
};

std::unique_ptr<Recording> SimtDevice::record(const std::function<void()>& work) {
  refuse_while_recording("a recording");
  auto made = std::make_unique<StepRecording>();
  recording_ = made.get();
  try {
    work();
  } catch (...) {
    recording_ = nullptr;
    throw;
  }
  recording_ = nullptr;
  return made;
}

bool SimtDevice::take_down(const std::function<void()>& step) {
  if (recording_ == nullptr) return false;
  recording_->steps.push_back(step);
  return true;
}

void SimtDevice::refuse_while_recording(const char* action) const {
  PANDA_INTERNAL_ASSERT(recording_ == nullptr, action, " in work that is being recorded");
}

void SimtDevice::synchronize() {
  refuse_while_recording("a wait");
}

void SimtDevice::copy_from_host(void* device_destination, const void* source, int64_t bytes) {
  refuse_while_recording("a copy from the host");
  if (bytes > 0) std::memcpy(device_destination, source, static_cast<size_t>(bytes));
}

void SimtDevice::copy_to_host(void* destination, const void* device_source, int64_t bytes) {
  refuse_while_recording("a copy to the host");
  if (bytes > 0) std::memcpy(destination, device_source, static_cast<size_t>(bytes));
}

void SimtDevice::copy_on_device(void* destination, const void* source, int64_t bytes) {
  if (bytes == 0) return;
  const auto step = [=] { std::memcpy(destination, source, static_cast<size_t>(bytes)); };
  if (!take_down(step)) step();
}

void SimtDevice::fill(void* destination, uint8_t value, int64_t bytes) {
  if (bytes == 0) return;
  const auto step = [=] { std::memset(destination, value, static_cast<size_t>(bytes)); };
  if (!take_down(step)) step();
}

void* SimtDevice::allocate_bytes(int64_t bytes) {
  void* pointer = nullptr;
  constexpr size_t kAlignment = 64;  // what Device::allocate promises, and no more
  constexpr size_t kBand = emulator::race::kDeviceBand;
  if (posix_memalign(&pointer, kAlignment, static_cast<size_t>(bytes) + 2 * kBand) != 0) return nullptr;
  pointer = static_cast<unsigned char*>(pointer) + kBand;
  std::memset(pointer, poison_byte(), static_cast<size_t>(bytes));
  emulator::race::device_memory_allocated(pointer, static_cast<size_t>(bytes));
  return pointer;
}

void SimtDevice::free_bytes(void* pointer, int64_t) noexcept {
  if (recording_ != nullptr) {
    recording_->blocks.push_back(pointer);
  } else {
    give_back(pointer);
  }
}

}  // namespace panda::kernels::simt
