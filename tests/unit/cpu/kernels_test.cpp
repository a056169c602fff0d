// The cpu device's other kernels against the reference device, on every instruction set.
#include "kernels/batch_norm.h"
#include "kernels/elementwise.h"
#include "kernels/knn.h"
#include "kernels/pool2d.h"
#include "kernels/reduce.h"
#include "kernels/tensor/parallel.h"
#include "tests/unit/cpu/support.h"

namespace panda::kernels::cpu {
namespace {

const std::vector<Layout> kLayouts = {Layout::kDense, Layout::kChannelBlocked16};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

/// The reference device knows only the dense layout.
Layout layout_on(const Device& device, Layout layout) {
  return device.name() == "cpu" ? layout : Layout::kDense;
}

std::vector<float> scaled(std::vector<float> v, double factor) {
  for (float& x : v) x = static_cast<float>(std::abs(x) * factor);
  return v;
}

/// Values whose exponents span the type, and the special ones.
std::vector<float> wide_values() {
  std::vector<float> v = {0.0f,    -0.0f,   1.0f,   -1.0f,   kNan,  kInf,    -kInf,
                          1e-45f,  -1e-45f, 1e-40f, -3e-39f, 88.7f, 88.8f,   -87.4f,
                          -103.9f, -104.1f, 3e38f,  -3e38f,  1e30f, -250.0f, 250.0f};
  const std::vector<float> random = values(500, 9);
  for (size_t i = 0; i < random.size(); ++i)
    v.push_back(random[i] * static_cast<float>(std::pow(2.0, static_cast<double>(i % 16) - 8)));
  return v;
}

TEST(CpuElementwise, UnaryIsWithinItsUlps) {
  const std::vector<float> x = wide_values();
  const Shape shape{static_cast<int64_t>(x.size())};
  for (const auto& device : all_devices()) {
    for (const UnaryOp op : {UnaryOp::kRelu, UnaryOp::kAbs, UnaryOp::kSquare, UnaryOp::kSqrt, UnaryOp::kExp,
                             UnaryOp::kLog, UnaryOp::kSigmoid}) {
      const Tensor want = unwritten(reference_device(), shape);
      unary_forward(reference_device(), {op, on_device(reference_device(), shape, x), want});
      const Tensor y = unwritten(*device, shape);
      unary_forward(*device, {op, on_device(*device, shape, x), y});
      const bool rounded_once =
          op == UnaryOp::kRelu || op == UnaryOp::kAbs || op == UnaryOp::kSquare || op == UnaryOp::kSqrt;
      for (size_t i = 0; i < x.size(); ++i) {
        const float a = y.data<float>()[i];
        const float b = want.data<float>()[i];
        if (std::isnan(b)) {
          EXPECT_TRUE(std::isnan(a)) << device->description() << " op " << static_cast<int>(op) << " of "
                                     << x[i];
        } else if (rounded_once) {
          EXPECT_EQ(std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(b))
              << device->description() << " op " << static_cast<int>(op) << " of " << x[i];
        } else {
          const int64_t ulps =
              std::abs(int64_t{std::bit_cast<int32_t>(a)} - int64_t{std::bit_cast<int32_t>(b)});
          EXPECT_LE(ulps, 1) << device->description() << " op " << static_cast<int>(op) << " of " << x[i]
                             << ": " << a << " for " << b;
        }
      }
    }
  }
}

TEST(CpuElementwise, BinaryHasTheReferencesBitsAlsoMisalignedAndInPlace) {
  const std::vector<float> x = wide_values();
  std::vector<float> z(x.rbegin(), x.rend());
  const auto count = static_cast<int64_t>(x.size());
  for (const auto& device : all_devices()) {
    for (const BinaryOp op : {BinaryOp::kAdd, BinaryOp::kSubtract, BinaryOp::kMultiply, BinaryOp::kDivide}) {
      const Tensor want = unwritten(reference_device(), {count});
      binary_forward(reference_device(), {op, on_device(reference_device(), {count}, x),
                                          on_device(reference_device(), {count}, z), want});
      // One float into the buffers: no vector is aligned.
      std::vector<float> a(x.size() + 1), b(z.size() + 1);
      std::copy(x.begin(), x.end(), a.begin() + 1);
      std::copy(z.begin(), z.end(), b.begin() + 1);
      const TensorView av(a.data() + 1, DType::kF32, {count}, *device);
      binary_forward(*device, {op, av, TensorView(b.data() + 1, DType::kF32, {count}, *device), av});
      for (size_t i = 0; i < x.size(); ++i) {
        const float got = a[i + 1];
        const float wanted = want.data<float>()[i];
        if (std::isnan(wanted) ? !std::isnan(got)
                               : std::bit_cast<uint32_t>(got) != std::bit_cast<uint32_t>(wanted)) {
          ADD_FAILURE() << device->description() << " op " << static_cast<int>(op) << " of " << x[i] << ", "
                        << z[i] << ": " << got;
        }
      }
    }
  }
}

TEST(CpuConvert, KeepsTheReferencesBitsBetweenAllPairs) {
  const std::vector<DType> from_types = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16,
                                         DType::kU8,  DType::kI32, DType::kI64};
  const std::vector<DType> to_types = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16};
  const Shape shape{2, 19, 3, 5};
  std::vector<float> x = wide_values();
  x.resize(static_cast<size_t>(shape.numel()));
  for (size_t i = 300; i < x.size(); ++i)
    x[i] = std::bit_cast<float>(static_cast<uint32_t>(0x38000000u + i * 0x1fffu));
  for (const auto& device : all_devices()) {
    for (const DType from : from_types) {
      std::vector<char> source(static_cast<size_t>(shape.numel() * dtype_bytes(from)));
      if (dtype_is_float(from)) {
        convert(reference_device(), {on_device(reference_device(), shape, x),
                                     TensorView(source.data(), from, shape, reference_device())});
      } else {
        for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<char>(i * 37);
      }
      for (const DType to : to_types) {
        const Tensor want(reference_device(), to, shape, "test");
        convert(reference_device(), {ConstTensorView(source.data(), from, shape, reference_device()), want});
        for (const Layout layout : kLayouts) {  // there and back through `layout`
          const Tensor there(*device, to, shape, "test", layout);
          const Tensor back(*device, to, shape, "test");
          std::memset(there.view().raw(), 0xff, static_cast<size_t>(there.bytes()));
          convert(*device, {ConstTensorView(source.data(), from, shape, *device), there});
          convert(*device, {there, back});
          EXPECT_EQ(std::memcmp(back.view().raw(), want.view().raw(), static_cast<size_t>(want.bytes())), 0)
              << device->description() << " " << dtype_name(from) << " to " << dtype_name(to) << " by "
              << layout_name(layout);
          if (to == DType::kF32) (void)dense_of(there);  // padding is zero
        }
      }
    }
  }
}

TEST(CpuConvert, HasTheReferencesBitsForEveryHalf) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  const Shape shape{65536};
  for (const auto& device : all_devices()) {
    for (const DType from : {DType::kF16, DType::kBF16}) {
      const Tensor want(reference_device(), DType::kF32, shape, "test");
      const Tensor got(*device, DType::kF32, shape, "test");
      const Tensor back(*device, from, shape, "test");
      const Tensor want_back(reference_device(), from, shape, "test");
      convert(reference_device(), {ConstTensorView(halves.data(), from, shape, reference_device()), want});
      convert(*device, {ConstTensorView(halves.data(), from, shape, *device), got});
      for (size_t i = 0; i < halves.size(); ++i) {
        const float a = got.data<float>()[i];
        const float b = want.data<float>()[i];
        // A signalling NaN: the oracle, which goes through f64, makes it quiet.
        if (std::isnan(a) && std::isnan(b)) continue;
        ASSERT_EQ(std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(b))
            << device->description() << dtype_name(from) << " " << i;
      }
      convert(*device, {got, back});
      for (size_t i = 0; i < halves.size(); ++i) {
        const float value = got.data<float>()[i];
        const uint16_t expected = from == DType::kF16 ? to_float16(value).bits : to_bfloat16(value).bits;
        ASSERT_EQ(static_cast<const uint16_t*>(back.view().raw())[i], expected)
            << device->description() << " " << i;
      }
    }
  }
}

struct PoolCase {
  Shape x;
  Pool2dGeometry g;
};

TEST(CpuPool, AgreesWithTheReferenceInEveryLayout) {
  const std::vector<PoolCase> cases = {{{2, 20, 9, 11}, {3, 3, 2, 2, 1, 1}},
                                       {{1, 16, 1, 1}, {1, 1, 1, 1, 0, 0}},
                                       {{1, 3, 7, 5}, {2, 3, 1, 2, 0, 2}},
                                       {{3, 33, 8, 8}, {8, 8, 8, 8, 0, 0}},
                                       {{1, 17, 5, 5}, {3, 3, 3, 3, 2, 2}}};
  for (const auto& device : all_devices()) {
    for (const PoolCase& t : cases) {
      std::vector<float> x = values(t.x.numel(), 5);
      x[x.size() / 2] = kNan;
      const Shape y_shape{t.x[0], t.x[1], (t.x[2] + 2 * t.g.pad_h - t.g.window_h) / t.g.stride_h + 1,
                          (t.x[3] + 2 * t.g.pad_w - t.g.window_w) / t.g.stride_w + 1};
      for (const bool max : {true, false}) {
        const auto pool = max ? max_pool2d_forward : avg_pool2d_forward;
        const Tensor want = unwritten(reference_device(), y_shape);
        pool(reference_device(), {on_device(reference_device(), t.x, x), t.g, want});
        for (const Layout from : kLayouts) {
          for (const Layout to : kLayouts) {
            const Tensor y = unwritten(*device, y_shape, to);
            pool(*device, {on_device(*device, t.x, x, from), t.g, y});
            const std::vector<float> tolerance(static_cast<size_t>(y_shape.numel()),
                                               max ? 0.0f : 64 * 0x1p-24f);
            expect_within(dense_of(y), dense_of(want), tolerance,
                          text(device->description(), " ", t.x, max ? " max" : " avg"));
          }
        }
      }
      for (const Layout from : kLayouts) {
        const Tensor want = unwritten(reference_device(), {t.x[0], t.x[1]});
        global_avg_pool2d_forward(reference_device(), {on_device(reference_device(), t.x, x), want});
        const Tensor y = unwritten(*device, {t.x[0], t.x[1]});
        global_avg_pool2d_forward(*device, {on_device(*device, t.x, x, from), y});
        expect_within(dense_of(y), dense_of(want), scaled(dense_of(want), 0x1p-23),
                      text(device->description(), " global ", t.x));
      }
    }
  }
}

TEST(CpuBatchNorm, AgreesWithTheReferenceInEveryLayout) {
  const Shape shape{2, 21, 5, 3};
  const Shape channels{21};
  const std::vector<float> x = values(shape.numel(), 1);
  std::vector<float> variance = values(21, 5);
  for (float& v : variance) v = std::abs(v) + 0.1f;
  const auto run = [&](Device& device, Layout from, Layout to) {
    const Tensor xt = on_device(device, shape, x, layout_on(device, from));
    const Tensor gamma = on_device(device, channels, values(21, 2));
    const Tensor beta = on_device(device, channels, values(21, 3));
    const Tensor mean = on_device(device, channels, values(21, 4));
    const Tensor var = on_device(device, channels, variance);
    const Tensor y = unwritten(device, shape, layout_on(device, to));
    batch_norm_forward(device, {xt, gamma, beta, mean, var, 1e-5, y});
    return dense_of(y);
  };
  const std::vector<float> want = run(reference_device(), Layout::kDense, Layout::kDense);
  for (const auto& device : all_devices()) {
    for (const Layout from : kLayouts) {
      for (const Layout to : kLayouts) {
        expect_within(run(*device, from, to), want, std::vector<float>(want.size(), 16 * 0x1p-23f),
                      device->description());
      }
    }
  }
}

TEST(CpuReduce, AgreesWithTheReferenceAlongEveryAxis) {
  const Shape shape{3, 37, 5, 130};
  std::vector<float> x = values(shape.numel(), 7);
  x[100] = kNan;
  for (const auto& device : all_devices()) {
    for (const ReduceOp op :
         {ReduceOp::kSum, ReduceOp::kMean, ReduceOp::kSumOfSquares, ReduceOp::kMax, ReduceOp::kMin}) {
      for (int axis = 0; axis < 4; ++axis) {
        std::vector<int64_t> extents = shape.to_vector();
        extents.erase(extents.begin() + axis);
        const Tensor want = unwritten(reference_device(), Shape(extents));
        const Tensor y = unwritten(*device, Shape(extents));
        reduce_forward(reference_device(), {op, on_device(reference_device(), shape, x), axis, want});
        reduce_forward(*device, {op, on_device(*device, shape, x), axis, y});
        std::vector<float> tolerance(static_cast<size_t>(y.numel()),
                                     op == ReduceOp::kMax || op == ReduceOp::kMin ? 0.0f : 1e-12f);
        for (size_t i = 0; i < tolerance.size(); ++i)
          tolerance[i] += std::abs(want.data<float>()[i]) * 0x1p-23f;
        expect_within(dense_of(y), dense_of(want), tolerance,
                      text(device->description(), " axis ", axis, " op ", static_cast<int>(op)));
      }
    }
  }
}

TEST(CpuReduce, PropagatesNanWhereverItIs) {
  for (const auto& device : all_devices()) {
    for (int64_t count : {1, 15, 16, 17, 40}) {
      for (int64_t at = 0; at < count; ++at) {
        std::vector<float> x = values(count, 3);
        x[static_cast<size_t>(at)] = kNan;
        for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
          const Tensor y = unwritten(*device, Shape{});
          y.data<float>()[0] = 0;
          reduce_forward(*device, {op, on_device(*device, {count}, x), 0, y});
          EXPECT_TRUE(std::isnan(y.data<float>()[0]))
              << device->description() << " " << count << " at " << at;
        }
      }
    }
  }
}

TEST(CpuReduce, SoftmaxAndNormalizeRowsAgreeWithTheReference) {
  for (const auto& device : all_devices()) {
    for (const int64_t count : {1, 7, 16, 33, 1000}) {
      const Shape shape{5, count};
      std::vector<float> x = values(shape.numel(), 11);
      for (float& v : x) v *= 20;
      if (count > 1) {
        x[0] = -kInf;
        x[static_cast<size_t>(2 * count)] = kNan;
        for (int64_t i = 0; i < count; ++i) x[static_cast<size_t>(4 * count + i)] = 0;
      }
      for (const bool softmax : {true, false}) {
        if (!softmax && count > 1) x[0] = 1;
        const Tensor want = unwritten(reference_device(), shape);
        const Tensor y = on_device(*device, shape, x);
        if (softmax) {
          softmax_forward(reference_device(), {on_device(reference_device(), shape, x), want});
          softmax_forward(*device, {y, y});
        } else {
          normalize_rows_forward(reference_device(), {on_device(reference_device(), shape, x), want});
          normalize_rows_forward(*device, {y, y});
        }
        std::vector<float> tolerance = scaled(dense_of(want), 2 * 0x1p-23);
        for (float& t : tolerance) t = std::isnan(t) ? 0 : t + 3e-45f;
        expect_within(dense_of(y), dense_of(want), tolerance,
                      text(device->description(), " ", count, softmax ? " softmax" : " normalize"));
      }
    }
  }
}

TEST(CpuKnn, HasTheReferencesBits) {
  struct KnnCase {
    int64_t nq, nb, d, k;
  };
  for (const auto& device : all_devices({1, 3})) {
    for (const KnnCase& t : {KnnCase{1, 1, 1, 1}, KnnCase{33, 70, 17, 5}, KnnCase{5, 40, 64, 40},
                             KnnCase{70, 129, 100, 2}, KnnCase{2, 9, 16, 3}}) {
      std::vector<float> q = values(t.nq * t.d, 1);
      std::vector<float> g = values(t.nb * t.d, 2);
      if (t.nb > 8) std::copy_n(g.begin(), t.d, g.begin() + 5 * t.d);  // a tie: the lower index comes first
      std::vector<double> distances[2];
      std::vector<int64_t> indices[2];
      Device* const devices[2] = {&reference_device(), device.get()};
      for (size_t i = 0; i < 2; ++i) {
        distances[i].resize(static_cast<size_t>(t.nq * t.k));
        indices[i].resize(distances[i].size());
        const Tensor queries = on_device(*devices[i], {t.nq, t.d}, q);
        const Tensor gallery = on_device(*devices[i], {t.nb, t.d}, g);
        knn_search(*devices[i], {queries, gallery, t.k,
                                 TensorView(distances[i].data(), DType::kF64, {t.nq, t.k}, *devices[i]),
                                 TensorView(indices[i].data(), DType::kI64, {t.nq, t.k}, *devices[i])});
      }
      EXPECT_EQ(indices[0], indices[1]) << device->description() << " d=" << t.d;
      EXPECT_EQ(distances[0], distances[1]) << device->description() << " d=" << t.d;
    }
  }
}

TEST(CpuKnn, NamesTheRowThatIsNotFinite) {
  CpuDevice device(2, Isa::kBaseline);
  std::vector<float> g = values(40 * 20, 2);
  g[17 * 20 + 3] = kInf;
  const Tensor queries = on_device(device, {1, 20}, values(20, 1));
  const Tensor gallery = on_device(device, {40, 20}, g);
  const Tensor distances(device, DType::kF32, {1, 1}, "test");
  const Tensor indices(device, DType::kI64, {1, 1}, "test");
  try {
    knn_search(device, {queries, gallery, 1, distances, indices});
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(), "knn_search: gallery row 17 holds inf at component 3");
  }
}

}  // namespace
}  // namespace panda::kernels::cpu
