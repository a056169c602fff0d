// The kernels of cuBLASLt and cuDNN behind this engine's contracts: alternatives to kernels/cuda/*.cu.
//
// Two promises of the contracts they keep only as far as the vendor does: an image's result may change in its
// last bits with the batch it is in (another algorithm may be chosen for another shape), and a machine with
// other libraries may give other last bits. Hence the default is the engine's own kernels. Algorithms are
// chosen by the libraries' own models, never by timing, and those that are not deterministic are left out:
// the same shape gives the same bits on one machine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/device_registry.h"
#include "kernels/kernel_table.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::cuda {
class CudaDevice;
}

namespace panda::kernels::cuda::vendor {

class CublasLt;
class Cudnn;

/// What a library declined goes to the engine's own kernel.
template <typename Args>
void run_native(const char* name, void (*entry)(Device&, const Args&), Device& device, const Args& args) {
  if (entry == nullptr)
    throw Unsupported(text(name, ": device ", device.name(), " has neither a native nor a vendor kernel"));
  entry(device, args);
}

class VendorLibraries {
 public:
  /// Loads what is there; for what is not, adds a line to `missing`.
  VendorLibraries(CudaDevice& device, std::vector<std::string>& missing);
  VendorLibraries(const VendorLibraries&) = delete;
  VendorLibraries& operator=(const VendorLibraries&) = delete;
  ~VendorLibraries();

  [[nodiscard]] bool any() const { return blas_ != nullptr || dnn_ != nullptr; }
  /// "cuBLASLt 13.1.0, cuDNN 9.19.0"
  [[nodiscard]] std::string description() const;
  /// Puts the libraries' kernels in place of those of `table`.
  void override_kernels(KernelTable& table) const;

  /// Each only where its kernels are in the table.
  [[nodiscard]] CublasLt& blas() { return *blas_; }
  [[nodiscard]] Cudnn& dnn() { return *dnn_; }

 private:
  std::unique_ptr<CublasLt> blas_;
  std::unique_ptr<Cudnn> dnn_;
};

/// Gives the device the kernels of the options' engine. A library that cannot serve: Unsupported with one
/// line for kVendor, a line to options.warn for kAuto.
void use_engine(CudaDevice& device, const DeviceOptions& options);

}  // namespace panda::kernels::cuda::vendor
