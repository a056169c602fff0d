// Work that a device is given again and again, the same each time: a step of a training.
#pragma once

#include <functional>
#include <memory>

#include "kernels/tensor/device.h"

namespace panda {

/// Calls the work the first time. Where the device records (Device::records) the second time takes it down,
/// and from then on it is replayed: the same kernels on the same addresses, so the same bits. What the work
/// does on the host is then not done again, so it may only prepare what it gives to the device; what it reads
/// must be put in the same places before each run, and it may neither wait for the device nor copy from or to
/// the host once it has run.
class RepeatedWork {
 public:
  /// The device must outlive it. Without `record` the work is called every time.
  explicit RepeatedWork(Device& device, bool record = true)
      : device_(&device), records_(record && device.records()) {}

  /// `work` is the same in every call until `forget`. Running out of memory over the recording is survived:
  /// the work is then called as before.
  void run(const std::function<void()>& work);
  /// The next run begins anew: its work, or what it works on, is another.
  void forget();
  /// Whether runs replay.
  [[nodiscard]] bool recorded() const { return recording_ != nullptr; }

 private:
  Device* device_;
  bool records_;
  bool warm_ = false;  ///< ran once: the device has what the work allocates for good
  std::unique_ptr<Recording> recording_;
};

}  // namespace panda
