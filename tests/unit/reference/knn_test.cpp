// The oracle's kNN against cases whose answer is known without computing it.
#include <gtest/gtest.h>

#include "kernels/device_registry.h"
#include "kernels/knn.h"
#include "tests/support/guarded_tensor.h"

namespace panda::test {
namespace {

TEST(ReferenceKnn, FindsPointsOnALineAndBreaksTiesByIndex) {
  const std::unique_ptr<Device> device = kernels::make_device({"reference", 1, ""});
  const float gallery[] = {5, 1, 3, 1, -1};
  const float queries[] = {2, 1};
  const Tensor distances(host(), DType::kF64, {2, 4}, "distances");
  const Tensor indices(host(), DType::kI64, {2, 4}, "indices");
  kernels::knn_search(*device, {Tensor::from({2, 1}, queries), Tensor::from({5, 1}, gallery), 4, distances, indices});
  EXPECT_EQ(elements(indices), (std::vector<double>{1, 2, 3, 0, 1, 3, 2, 4}));
  EXPECT_EQ(elements(distances), (std::vector<double>{1, 1, 1, 9, 0, 0, 4, 4}));
}

TEST(ReferenceKnn, DistanceDoesNotCancel) {
  // |q|^2 - 2qx + |x|^2 in f32 would give 0 or worse here; the difference form gives the exact 12 * 2^-22.
  const std::unique_ptr<Device> device = kernels::make_device({"reference", 1, ""});
  const float far = 4096;
  const float step = 0x1p-11f;  // one ulp of 4096
  const float queries[] = {far, far, far};
  const float gallery[] = {far + 2 * step, far + 2 * step, far + 2 * step};
  const Tensor distances(host(), DType::kF32, {1, 1}, "distances");
  const Tensor indices(host(), DType::kI64, {1, 1}, "indices");
  kernels::knn_search(*device, {Tensor::from({1, 3}, queries), Tensor::from({1, 3}, gallery), 1, distances, indices});
  EXPECT_EQ(distances.data<float>()[0], 3 * 4 * step * step);
}

}  // namespace
}  // namespace panda::test
