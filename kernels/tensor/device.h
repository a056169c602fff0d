// A device: memory, copies between it and the host, and the table of kernels that it implements.
//
// There is no virtual function per operation: `kernels()` returns a table of function pointers
// (kernels/kernel_table.h), and the public call of each kernel (kernels/<op>.h) checks its arguments once and
// goes through it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/tensor/dtype.h"
#include "kernels/tensor/layout.h"

namespace panda {

class ThreadPool;
namespace kernels {
struct KernelTable;
}

/// Bytes a device holds for us, by label.
struct MemoryReport {
  int64_t bytes_in_use = 0;
  int64_t peak_bytes = 0;
  int64_t reserved_bytes = 0;  ///< taken from the system; more than bytes_in_use where freed memory is kept
  std::map<std::string, int64_t> bytes_by_label;
};

/// Work that a device has taken down once and can be told to do again, with the same memory and shapes, for
/// less than the calls cost that made it. It must not outlive its device.
class Recording {
 public:
  Recording() = default;
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  virtual ~Recording() = default;
  /// Does the work, in the device's order of work.
  virtual void replay() = 0;
};

class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  /// "cpu", "reference", ...: what --device takes.
  [[nodiscard]] virtual std::string name() const = 0;
  /// One line for people: threads, instruction set, model.
  [[nodiscard]] virtual std::string description() const = 0;
  /// True where the host may read and write the device's memory through plain pointers.
  [[nodiscard]] virtual bool host_accessible() const = 0;
  [[nodiscard]] virtual const kernels::KernelTable& kernels() const = 0;
  /// The layout in which this device wants N,C,H,W activations.
  [[nodiscard]] virtual Layout activation_layout() const = 0;
  /// The numbers in which this device computes networks. Activations in the activation layout are stored as
  /// `activation_dtype(precision())`; dense tensors stay f32.
  [[nodiscard]] virtual Precision precision() const { return Precision::kF32; }
  /// Host threads for this device's kernels; one thread where it needs none.
  [[nodiscard]] virtual ThreadPool& threads() = 0;

  virtual void copy_from_host(void* device_destination, const void* source, int64_t bytes) = 0;
  virtual void copy_to_host(void* destination, const void* device_source, int64_t bytes) = 0;
  /// Sets every byte.
  virtual void fill(void* destination, uint8_t value, int64_t bytes) = 0;
  /// Returns when all work given to the device is done; throws what went wrong in it.
  virtual void synchronize() = 0;
  /// Between two places of this device that do not overlap. The default goes through the host.
  virtual void copy_on_device(void* destination, const void* source, int64_t bytes);

  /// Whether this device can take work down and replay it faster than it was called.
  [[nodiscard]] virtual bool records() const { return false; }
  /// Takes down the kernels, fills and copies on the device that `work` gives to this device, without doing
  /// them; what it frees stays reserved while the recording lives. `work` may not wait for the device or copy
  /// from or to the host, and the device has done the same work before. Only where records().
  [[nodiscard]] virtual std::unique_ptr<Recording> record(const std::function<void()>& work);

  /// Memory aligned to 64 bytes (nullptr for 0 bytes). `label` says what for; it must outlive the device (a
  /// literal). Throws OutOfMemory, naming label and MiB, also when the limit below would be passed.
  [[nodiscard]] void* allocate(int64_t bytes, const char* label);
  void free(void* pointer, int64_t bytes, const char* label) noexcept;

  [[nodiscard]] MemoryReport memory_report() const;
  /// Refuses to hold more than this many bytes (default: no limit). For budgets and for tests of running out.
  void set_memory_limit(int64_t bytes) { memory_limit_ = bytes; }

 protected:
  /// nullptr if it cannot be had; bytes > 0. Throws where the device has failed.
  virtual void* allocate_bytes(int64_t bytes) = 0;
  virtual void free_bytes(void* pointer, int64_t bytes) noexcept = 0;
  /// What the report calls reserved_bytes; negative where that is what is in use.
  [[nodiscard]] virtual int64_t reserved_bytes() const { return -1; }

 private:
  mutable std::mutex mutex_;
  MemoryReport report_;
  int64_t memory_limit_ = INT64_MAX;
};

/// Plain host memory, shared by all that read files and decode images. It has no kernels: calling one throws
/// Unsupported.
[[nodiscard]] Device& host();

/// Base of devices whose memory is the host's.
class HostMemoryDevice : public Device {
 public:
  [[nodiscard]] bool host_accessible() const override { return true; }
  void copy_from_host(void* device_destination, const void* source, int64_t bytes) override;
  void copy_to_host(void* destination, const void* device_source, int64_t bytes) override;
  void fill(void* destination, uint8_t value, int64_t bytes) override;
  void synchronize() override {}
  void copy_on_device(void* destination, const void* source, int64_t bytes) override {
    copy_from_host(destination, source, bytes);
  }

 protected:
  void* allocate_bytes(int64_t bytes) override;
  void free_bytes(void* pointer, int64_t bytes) noexcept override;
};

}  // namespace panda
