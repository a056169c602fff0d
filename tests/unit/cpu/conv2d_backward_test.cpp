// The filter gradient's algorithms: which one is taken, its distance from f64 sums, its bits.
#include "kernels/conv2d_backward.h"

#include <algorithm>

#include "kernels/cpu/conv2d_backward_filter.h"
#include "tests/support/conv_form.h"
#include "tests/unit/cpu/support.h"

namespace panda::kernels::cpu {
namespace {

struct Case : test::ConvForm {
  bool winograd = false;
};

const std::vector<Case> kCases = {
    // Winograd: whole tiles, cut tiles, channel tails, any padding, more tiles than a chunk.
    {{3, 32, 16, 16, 32, 3, 3, 1, 1}, true},
    {{2, 33, 21, 18, 47, 3, 3, 1, 1}, true},
    {{3, 40, 19, 17, 32, 3, 3, 1, 0}, true},
    {{3, 32, 15, 13, 49, 3, 3, 1, 2}, true},
    {{3, 32, 28, 28, 32, 3, 3, 1, 1}, true},
    // Too few tiles or channels, mostly padding, another stride, another filter.
    {{2, 32, 14, 14, 32, 3, 3, 1, 1}, false},
    {{3, 31, 16, 16, 32, 3, 3, 1, 1}, false},
    {{60, 32, 2, 2, 32, 3, 3, 1, 1}, false},
    {{3, 32, 32, 32, 32, 3, 3, 2, 1}, false},
    {{3, 32, 16, 16, 32, 5, 5, 1, 2}, false},
    // Small images that share a tile, the last tile with fewer; more blocks than an item.
    {{7, 200, 5, 7, 170, 1, 1, 1, 0}, false},
    {{5, 70, 9, 9, 40, 3, 3, 2, 1}, false},
};

struct Operands {
  std::vector<float> x, dL_dy, before;
  explicit Operands(const Case& t)
      : x(values(t.x().numel(), 1)), dL_dy(values(t.y().numel(), 2)), before(values(t.filter().numel(), 3)) {}
};

std::vector<float> filter_gradient(Device& device, const Case& t, const Operands& data, GradientMode mode) {
  const Layout layout = device.activation_layout();
  const Tensor x = on_device(device, t.x(), data.x, layout);
  const Tensor dL_dy = on_device(device, t.y(), data.dL_dy, layout);
  const Tensor gradient = mode == GradientMode::kAccumulate ? on_device(device, t.filter(), data.before)
                                                            : unwritten(device, t.filter());
  conv2d_backward_filter(device, {x, dL_dy, t.geometry(), {gradient, mode}, {}, {}, {}});
  return dense_of(gradient);
}

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
    norm += double{want[i]} * want[i];
  }
  EXPECT_GT(norm, 0);
  return std::sqrt(error / norm);
}

TEST(CpuFilterGradient, TakesWinogradWhereItSavesOperations) {
  CpuDevice device(1, supported_isas().back());
  for (const Case& t : kCases) {
    const auto taken = [&](bool squares) {
      const Tensor filter(host(), DType::kF32, t.filter(), "filter");
      const Gradient gradient{filter, GradientMode::kOverwrite};
      const Conv2dBackwardFilterArgs args{.x = {},
                                          .dL_dy = {},
                                          .geometry = t.geometry(),
                                          .dL_dfilter = gradient,
                                          .squares = squares ? gradient : Gradient{}};
      return filter_gradient_takes_winograd({.device = device,
                                             .args = args,
                                             .x = nullptr,
                                             .dL_dy = nullptr,
                                             .n = t.n,
                                             .c = t.c,
                                             .h = t.h,
                                             .w = t.w,
                                             .k = t.k,
                                             .p = t.y()[2],
                                             .q = t.y()[3],
                                             .r = t.r,
                                             .s = t.s});
    };
    EXPECT_EQ(taken(false), t.winograd) << t.name();
    EXPECT_FALSE(taken(true)) << t.name();
  }
}

// The rounding of two-level sums and of the transforms: below 1e-6 at the sizes of the networks
// (docs/decisions/training.md); a wrong coefficient or a missing tile is off by 1e-2 at least.
TEST(CpuFilterGradient, AgreesWithTheReferenceOnEveryInstructionSet) {
  for (const GradientMode mode : {GradientMode::kOverwrite, GradientMode::kAccumulate}) {
    for (const Case& t : kCases) {
      const Operands data(t);
      const std::vector<float> want = filter_gradient(reference_device(), t, data, mode);
      const float largest = *std::max_element(want.begin(), want.end());
      for (const auto& device : all_devices()) {
        const std::vector<float> got = filter_gradient(*device, t, data, mode);
        expect_within(got, want, std::vector<float>(want.size(), 1e-5f * largest),
                      text(device->description(), " ", t.name()));
        EXPECT_LT(relative_error(got, want), 2e-6) << device->description() << " " << t.name();
      }
    }
  }
}

TEST(CpuFilterGradient, GivesTheSameBitsForAnyThreadCount) {
  for (const Isa isa : supported_isas()) {
    for (const Case& t : kCases) {
      const Operands data(t);
      CpuDevice one(1, isa);
      const std::vector<float> expected = filter_gradient(one, t, data, GradientMode::kOverwrite);
      for (const int threads : {2, 3, 8}) {
        CpuDevice device(threads, isa);
        EXPECT_TRUE(same_bits(filter_gradient(device, t, data, GradientMode::kOverwrite), expected))
            << device.description() << " " << t.name();
      }
    }
  }
}

}  // namespace
}  // namespace panda::kernels::cpu
