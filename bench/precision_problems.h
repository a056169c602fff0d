// The problems of precision_table: one or more for every kernel whose result is rounded.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/tensor/tensor.h"

namespace panda::bench {

/// One side of a comparison: a device that computes in f32 and its activation dtype, or the reference in f64.
class Side {
 public:
  Side(Device& device, Device& reference, DType dtype)
      : device_(device), reference_(reference), dtype_(dtype) {}

  [[nodiscard]] Device& device() const { return device_; }
  /// An operand on the device: dense, or an image in the activation layout; uniform in [low, high).
  [[nodiscard]] Tensor put(const Shape& shape, uint64_t seed, double low = -1, double high = 1,
                           bool image = false) const;
  /// Whole numbers in [low, high), which every precision holds while they are below 2^8.
  [[nodiscard]] Tensor put_integers(const Shape& shape, uint64_t seed, double low, double high,
                                    bool image = false) const;
  /// i64 in [0, count), on the device.
  [[nodiscard]] Tensor put_labels(int64_t n, uint64_t seed, int64_t count) const;
  [[nodiscard]] Tensor make(const Shape& shape, bool image = false) const;
  [[nodiscard]] std::vector<double> get(const Tensor& result) const;

 private:
  [[nodiscard]] bool oracle() const { return dtype_ == DType::kF64; }
  [[nodiscard]] Layout image_layout() const;
  [[nodiscard]] DType image_dtype() const;
  [[nodiscard]] Tensor arranged(const Tensor& dense, bool image) const;

  Device& device_;
  Device& reference_;
  DType dtype_;
};

struct Problem {
  std::string kernel;
  std::string shape;
  std::function<Tensor(const Side&)> run;
};
[[nodiscard]] std::vector<Problem> forward_problems();
[[nodiscard]] std::vector<Problem> gradient_problems();
[[nodiscard]] std::vector<Problem> training_problems();

/// Kernels that no problem measures: their contract fixes every bit of the result, and the conformance suite
/// compares with equality.
struct ExactKernel {
  const char* kernel;
  const char* reason;
};
[[nodiscard]] const std::vector<ExactKernel>& exact_kernels();

}  // namespace panda::bench
