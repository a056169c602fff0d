#include "kernels/conv2d.h"

#include <algorithm>

#include "kernels/cpu/conv2d.h"
#include "tests/unit/cpu/support.h"

namespace panda::kernels::cpu {
namespace {

struct Case {
  int64_t n, c, h, w, k, r, s, stride_h, stride_w, pad_h, pad_w;
};

std::string name_of(const Case& t) {
  return text("n", t.n, " c", t.c, " ", t.h, "x", t.w, " k", t.k, " ", t.r, "x", t.s, " stride ", t.stride_h,
              "x", t.stride_w, " pad ", t.pad_h, "x", t.pad_w);
}

struct Options {
  bool bias = true;
  bool residual = true;
  bool relu = false;
  Layout x = Layout::kChannelBlocked16;
  Layout y = Layout::kChannelBlocked16;
  Layout r = Layout::kChannelBlocked16;
  Values kind = Values::kReal;
};

/// The operands of a case, dense.
struct Operands {
  Shape x_shape, w_shape, y_shape;
  std::vector<float> x, w, bias, residual;

  Operands(const Case& t, Values kind)
      : x_shape{t.n, t.c, t.h, t.w},
        w_shape{t.k, t.c, t.r, t.s},
        y_shape{t.n, t.k, Conv2dGeometry::output_extent(t.h, t.r, t.stride_h, t.pad_h),
                Conv2dGeometry::output_extent(t.w, t.s, t.stride_w, t.pad_w)},
        x(values(x_shape.numel(), 1, kind)),
        w(values(w_shape.numel(), 2, kind)),
        bias(values(t.k, 3, kind)),
        residual(values(y_shape.numel(), 4, kind)) {}
};

std::vector<float> convolve(Device& device, const Case& t, const Operands& data, const Options& o) {
  const Tensor w = on_device(device, data.w_shape, data.w);
  const Conv2dFilter filter = conv2d_prepare_filter(device, w, {t.stride_h, t.stride_w, t.pad_h, t.pad_w});
  const Tensor x = on_device(device, data.x_shape, data.x, o.x);
  const Tensor y = unwritten(device, data.y_shape, o.y);
  Conv2dForwardArgs args{x, &filter, {}, {}, y, o.relu};
  const Tensor bias = on_device(device, Shape{t.k}, data.bias);
  const Tensor residual = on_device(device, data.y_shape, data.residual, o.r);
  if (o.bias) args.bias = bias;
  if (o.residual) args.residual = residual;
  conv2d_forward(device, args);
  return dense_of(y);
}

std::vector<float> reference(const Case& t, const Operands& data, Options o) {
  o.x = o.y = o.r = Layout::kDense;
  return convolve(reference_device(), t, data, o);
}

// A direct sum of L = C R S terms in f32 has an error below L eps times the sum of the absolute terms; far
// below in practice, since errors partly cancel. Winograd's transforms add up to terms larger than the
// result: about twice the direct error (see docs/decisions/cpu-convolution.md). Both are bounded here by 64
// eps, which a wrong coefficient exceeds by orders of magnitude.
constexpr double kFactor = 64;

/// kFactor * eps * (sum of the absolute terms). Winograd computes 4x4 outputs from one 6x6 patch, so an
/// output with few terms (a corner) carries the error of its neighbours: there, the largest sum of the plane
/// stands for all.
std::vector<float> tolerance(const Case& t, Operands data, Options o) {
  for (auto* v : {&data.x, &data.w, &data.bias, &data.residual}) {
    for (float& value : *v) value = std::abs(value);
  }
  o.relu = false;
  std::vector<float> bound = reference(t, data, o);
  const auto plane = static_cast<int64_t>(data.y_shape[2] * data.y_shape[3]);
  if (t.r == 3 && t.s == 3 && t.stride_h == 1) {
    for (auto it = bound.begin(); it != bound.end(); it += plane)
      std::fill(it, it + plane, *std::max_element(it, it + plane));
  }
  for (float& value : bound) value = static_cast<float>(value * kFactor * 0x1p-24);
  return bound;
}

const std::vector<Case> kCases = {
    // pointwise: channel tails, pixel counts round the register tiles
    {1, 16, 1, 1, 16, 1, 1, 1, 1, 0, 0},
    {2, 17, 3, 5, 33, 1, 1, 1, 1, 0, 0},
    {1, 64, 7, 7, 48, 1, 1, 1, 1, 0, 0},
    {3, 40, 13, 1, 70, 1, 1, 1, 1, 0, 0},
    {1, 128, 14, 14, 32, 1, 1, 1, 1, 0, 0},
    {1, 300, 29, 31, 31, 1, 1, 1, 1, 0, 0},
    // gathered
    {2, 32, 14, 14, 64, 1, 1, 2, 2, 0, 0},
    {1, 20, 9, 9, 40, 1, 1, 3, 2, 1, 2},
    {2, 64, 15, 14, 32, 3, 3, 2, 2, 1, 1},
    {1, 16, 7, 7, 16, 3, 3, 1, 1, 1, 1},
    {1, 24, 8, 11, 20, 5, 3, 2, 3, 2, 0},
    {1, 48, 5, 5, 17, 5, 5, 1, 1, 4, 4},
    {1, 31, 6, 40, 64, 1, 7, 1, 1, 0, 3},
    {1, 100, 30, 30, 36, 2, 2, 3, 3, 0, 0},
    {1, 6, 14, 14, 16, 5, 5, 1, 1, 0, 0},
    // narrow
    {2, 3, 32, 30, 64, 7, 7, 2, 2, 3, 3},
    {1, 1, 28, 28, 6, 5, 5, 1, 1, 2, 2},
    {1, 3, 17, 9, 20, 3, 3, 1, 1, 1, 1},
    {1, 2, 5, 60, 33, 1, 12, 4, 5, 0, 2},
    {2, 4, 9, 9, 32, 3, 3, 2, 2, 1, 1},
    // Winograd: tile edges, channel tails, any padding, more tiles than a group
    {1, 32, 1, 1, 32, 3, 3, 1, 1, 1, 1},
    {1, 32, 4, 4, 32, 3, 3, 1, 1, 1, 1},
    {2, 33, 5, 3, 47, 3, 3, 1, 1, 1, 1},
    {2, 64, 7, 7, 64, 3, 3, 1, 1, 1, 1},
    {1, 64, 14, 14, 96, 3, 3, 1, 1, 1, 1},
    {1, 35, 13, 17, 65, 3, 3, 1, 1, 0, 0},
    {1, 48, 6, 6, 33, 3, 3, 1, 1, 3, 2},
    {3, 64, 28, 28, 32, 3, 3, 1, 1, 1, 1},
    {5, 256, 7, 7, 64, 3, 3, 1, 1, 1, 1},
};

TEST(CpuConv2d, AgreesWithTheReferenceOnEveryInstructionSet) {
  for (const auto& device : all_devices()) {
    for (const Case& t : kCases) {
      const Options o;
      const Operands data(t, o.kind);
      expect_within(convolve(*device, t, data, o), reference(t, data, o), tolerance(t, data, o),
                    text(device->description(), " ", name_of(t)));
    }
  }
}

TEST(CpuConv2d, AgreesInEveryLayoutAndEpilogue) {
  const std::vector<Layout> layouts = {Layout::kDense, Layout::kChannelBlocked16};
  CpuDevice device(2, supported_isas().back());
  for (const Case& t : {kCases[1], kCases[7], kCases[8], kCases[15], kCases[22]}) {
    for (int bits = 0; bits < 64; ++bits) {
      const Options o{.bias = (bits & 1) != 0,
                      .residual = (bits & 2) != 0,
                      .relu = (bits & 4) != 0,
                      .x = layouts[static_cast<size_t>(bits >> 3 & 1)],
                      .y = layouts[static_cast<size_t>(bits >> 4 & 1)],
                      .r = layouts[static_cast<size_t>(bits >> 5 & 1)]};
      const Operands data(t, o.kind);
      expect_within(convolve(device, t, data, o), reference(t, data, o), tolerance(t, data, o),
                    text(name_of(t), " options ", bits));
    }
  }
}

TEST(CpuConv2d, IsExactOnSmallIntegersWhenDirect) {
  for (const auto& device : all_devices()) {
    for (const Case& t : kCases) {
      const Options o{.relu = true, .kind = Values::kSmallIntegers};
      const Operands data(t, o.kind);
      const Tensor w = on_device(*device, data.w_shape, data.w);
      const Conv2dFilter filter =
          conv2d_prepare_filter(*device, w, {t.stride_h, t.stride_w, t.pad_h, t.pad_w});
      if (static_cast<ConvAlgorithm>(filter.algorithm) == ConvAlgorithm::kWinograd) continue;
      EXPECT_TRUE(same_bits(convolve(*device, t, data, o), reference(t, data, o)))
          << device->description() << " " << name_of(t);
    }
  }
}

TEST(CpuConv2d, GivesTheSameBitsForAnyThreadCount) {
  for (const Isa isa : supported_isas()) {
    for (const Case& t : kCases) {
      const Options o;
      const Operands data(t, o.kind);
      CpuDevice one(1, isa);
      const std::vector<float> expected = convolve(one, t, data, o);
      for (const int threads : {2, 3, 5, 8}) {
        CpuDevice device(threads, isa);
        EXPECT_TRUE(same_bits(convolve(device, t, data, o), expected))
            << device.description() << " " << name_of(t);
      }
    }
  }
}

TEST(CpuConv2d, GivesAnImageTheSameBitsAloneAndInABatch) {
  for (const auto& device : all_devices({3})) {
    for (Case t : kCases) {
      t.n = 5;
      const Options o;
      const Operands batch(t, o.kind);
      const std::vector<float> together = convolve(*device, t, batch, o);
      Case single = t;
      single.n = 1;
      Operands alone(single, o.kind);
      for (size_t n = 0; n < 5; ++n) {
        const auto x_size = alone.x.size();
        const auto y_size = alone.residual.size();
        alone.x.assign(batch.x.begin() + static_cast<int64_t>(n * x_size),
                       batch.x.begin() + static_cast<int64_t>((n + 1) * x_size));
        alone.residual.assign(batch.residual.begin() + static_cast<int64_t>(n * y_size),
                              batch.residual.begin() + static_cast<int64_t>((n + 1) * y_size));
        const std::vector<float> part(together.begin() + static_cast<int64_t>(n * y_size),
                                      together.begin() + static_cast<int64_t>((n + 1) * y_size));
        EXPECT_TRUE(same_bits(convolve(*device, single, alone, o), part))
            << device->description() << " " << name_of(t) << " image " << n;
      }
    }
  }
}

TEST(CpuConv2d, AddsAResidualInPlace) {
  CpuDevice device(2, supported_isas().back());
  const Case t{2, 64, 9, 9, 64, 3, 3, 1, 1, 1, 1};
  const Options o;
  const Operands data(t, o.kind);
  const Tensor w = on_device(device, data.w_shape, data.w);
  const Conv2dFilter filter = conv2d_prepare_filter(device, w, {1, 1, 1, 1});
  for (const Layout layout : {Layout::kDense, Layout::kChannelBlocked16}) {
    const Tensor x = on_device(device, data.x_shape, data.x, layout);
    const Tensor y = on_device(device, data.y_shape, data.residual, layout);
    conv2d_forward(device, {x, &filter, {}, y, y, true});
    Options wanted = o;
    wanted.bias = false;
    wanted.relu = true;
    EXPECT_TRUE(same_bits(dense_of(y), convolve(device, t, data, wanted)));
  }
}

TEST(CpuConv2d, KeepsNanAndInfinity) {
  CpuDevice device(2, supported_isas().back());
  const Case t{1, 16, 4, 4, 16, 1, 1, 1, 1, 0, 0};
  Operands data(t, Values::kReal);
  data.x[0] = std::numeric_limits<float>::quiet_NaN();
  data.x[1] = std::numeric_limits<float>::infinity();
  Options o;
  o.relu = true;
  const std::vector<float> got = convolve(device, t, data, o);
  const std::vector<float> want = reference(t, data, o);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(std::isnan(got[i]), std::isnan(want[i])) << i;
    EXPECT_EQ(std::isinf(got[i]), std::isinf(want[i])) << i;
  }
}

// Relative error in the 2-norm against f64 sums, at the sizes of the networks, on ReLU-ed input with He
// weights. A network is 8 to 36 such layers, whose errors add up like a random walk at most: 1e-6 per layer
// keeps 1e-5.
TEST(CpuConv2d, WinogradStaysWithinTheNetworksBudget) {
  CpuDevice device(2, supported_isas().back());
  for (const int64_t c : {64, 256, 512}) {
    const Case t{1, c, 7, 7, 32, 3, 3, 1, 1, 1, 1};
    Operands data(t, Values::kReal);
    for (float& value : data.x) value = std::max(value, 0.0f);
    for (float& value : data.w)
      value *= static_cast<float>(std::sqrt(2.0 / static_cast<double>(9 * c)) * std::sqrt(3.0));
    Options o;
    o.bias = o.residual = false;
    const std::vector<float> got = convolve(device, t, data, o);
    const std::vector<float> want = reference(t, data, o);
    double error = 0;
    double norm = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      error += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
      norm += double{want[i]} * want[i];
    }
    ASSERT_GT(norm, 0);
    const double relative = std::sqrt(error / norm);
    RecordProperty(text("relative_error_c", c), text(relative));
    std::printf("C=%ld: relative error %.2e\n", static_cast<long>(c), relative);
    EXPECT_LT(relative, 2e-6) << c;
  }
}

}  // namespace
}  // namespace panda::kernels::cpu
