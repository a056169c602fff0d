#include "nn/fold.h"

#include <cmath>
#include <vector>

namespace panda::nn {

namespace {

void check_channels(const char* name, const ConstTensorView& view, int64_t k) {
  PANDA_CHECK(view.present() && view.shape() == Shape({k}) && view.dtype() == DType::kF32,
              "fold_batch_norm: ", name, " is ", view.to_string(), ", expected f32 ", k);
}

void check_filter(const char* function, const ConstTensorView& filter) {
  PANDA_CHECK(filter.present() && filter.shape().rank() == 4 && filter.dtype() == DType::kF32 &&
                  filter.layout() == Layout::kDense,
              function, ": filter is ", filter.to_string(), ", expected dense f32 K,C,R,S");
}

/// A filter K,weights.size(),R,S whose channel j is the sum over c of weights[j][c] * filter's channel c.
Tensor mix_input_channels(const Tensor& filter, const std::vector<std::vector<double>>& weights) {
  const Shape& from = filter.shape();
  const auto channels = static_cast<int64_t>(weights.size());
  const int64_t taps = from[2] * from[3];
  Tensor result(host(), DType::kF32, {from[0], channels, from[2], from[3]}, "filter");
  const auto* w = filter.data<float>();
  auto* out = result.data<float>();
  for (int64_t k = 0; k < from[0]; ++k) {
    for (int64_t j = 0; j < channels; ++j) {
      for (int64_t t = 0; t < taps; ++t) {
        double sum = 0;
        for (int64_t c = 0; c < from[1]; ++c) {
          sum += weights[static_cast<size_t>(j)][static_cast<size_t>(c)] * w[(k * from[1] + c) * taps + t];
        }
        out[(k * channels + j) * taps + t] = static_cast<float>(sum);
      }
    }
  }
  return result;
}

}  // namespace

FilterAndBias fold_batch_norm(const ConstTensorView& filter, const BatchNormParameters& batch_norm) {
  check_filter("fold_batch_norm", filter);
  const int64_t k_count = filter.shape()[0];
  check_channels("gamma", batch_norm.gamma, k_count);
  check_channels("beta", batch_norm.beta, k_count);
  check_channels("mean", batch_norm.mean, k_count);
  check_channels("variance", batch_norm.variance, k_count);
  FilterAndBias folded{Tensor(host(), DType::kF32, filter.shape(), "filter"),
                       Tensor(host(), DType::kF32, {k_count}, "bias")};
  const int64_t row = k_count == 0 ? 0 : filter.numel() / k_count;
  const auto* from = filter.data<float>();
  auto* w = folded.filter.data<float>();
  auto* bias = folded.bias.data<float>();
  for (int64_t k = 0; k < k_count; ++k) {
    const double variance = double{batch_norm.variance.data<float>()[k]} + batch_norm.epsilon;
    PANDA_CHECK(variance > 0, "batch norm: variance ", batch_norm.variance.data<float>()[k], " in channel ",
                k, ", expected more than -", batch_norm.epsilon);
    const double scale = batch_norm.gamma.data<float>()[k] / std::sqrt(variance);
    bias[k] = static_cast<float>(batch_norm.beta.data<float>()[k] - batch_norm.mean.data<float>()[k] * scale);
    bool finite = std::isfinite(bias[k]);
    for (int64_t i = k * row; i < (k + 1) * row; ++i) {
      w[i] = static_cast<float>(from[i] * scale);
      finite &= std::isfinite(w[i]);
    }
    PANDA_CHECK(finite, "batch norm: channel ", k, " is scaled by ", scale,
                ", which takes its weights beyond f32");
  }
  return folded;
}

Tensor fold_input_channels(const Tensor& filter, int64_t channels) {
  check_filter("fold_input_channels", filter);
  const int64_t from = filter.shape()[1];
  PANDA_CHECK(channels >= 1 && from >= 1, "fold_input_channels: from ", from, " to ", channels,
              " channels, expected at least 1");
  if (channels == from) return filter;
  std::vector<std::vector<double>> weights(static_cast<size_t>(channels),
                                           std::vector<double>(static_cast<size_t>(from), 0.0));
  if (channels == 1) {
    weights[0].assign(static_cast<size_t>(from), 1.0);
  } else {
    const double scale = static_cast<double>(from) / static_cast<double>(channels);
    for (size_t j = 0; j < weights.size(); ++j) weights[j][j % static_cast<size_t>(from)] = scale;
  }
  return mix_input_channels(filter, weights);
}

Tensor fold_gray_normalization(const Tensor& filter, const std::array<double, 3>& mean,
                               const std::array<double, 3>& stddev) {
  check_filter("fold_gray_normalization", filter);
  PANDA_CHECK(filter.shape()[1] == 3, "fold_gray_normalization: filter is ", filter.shape(),
              ", expected 3 input channels");
  std::vector<std::vector<double>> weights(2);
  for (size_t c = 0; c < 3; ++c) {
    PANDA_CHECK(stddev[c] > 0, "fold_gray_normalization: standard deviation ", stddev[c], " of channel ", c,
                ", expected more than 0");
    weights[0].push_back(1 / stddev[c]);
    weights[1].push_back(-mean[c] / stddev[c]);
  }
  return mix_input_channels(filter, weights);
}

}  // namespace panda::nn
