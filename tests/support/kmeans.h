// What the tests of K-means share.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/tensor/progress.h"
#include "kernels/tensor/tensor.h"
#include "tests/support/messages.h"

namespace panda::test {

inline Tensor matrix(const Shape& shape, const std::vector<float>& elements) {
  return Tensor::from<float>(shape, elements.data(), "matrix");
}

template <typename T>
std::vector<T> values_of(const Tensor& tensor) {
  return {tensor.data<T>(), tensor.data<T>() + tensor.numel()};
}

/// Asks for an interrupt at the second report of K-means itself.
class StopAtSecondReport final : public Progress {
 public:
  void update(const char* stage, int64_t done, int64_t total) override {
    EXPECT_LE(done, total);
    if (std::string(stage) == "k-means" && ++reports == 2) request_interrupt();
  }
  int reports = 0;
};

}  // namespace panda::test
