#include "kernels/resize.h"

#include <vector>

#include "kernels/tensor/random.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

using kernels::ResampleAxis;

/// Tables of an axis with drawn windows: any part of the source, any weights that the contract allows. (That
/// Pillow's tables give Pillow's images is shown in tests/unit/data.)
struct AxisTables {
  std::vector<int64_t> first, count;
  std::vector<int32_t> weights;
  int64_t stride = 0;

  AxisTables(int64_t extent, int64_t size, int64_t taps, uint64_t seed) : stride(taps) {
    Random random(seed);
    for (int64_t i = 0; i < size; ++i) {
      count.push_back(1 + random.next_below(std::min(taps, extent)));
      first.push_back(random.next_below(extent - count.back() + 1));
      // Sums of about 2^22, now and then up to twice that (saturation at 255).
      const int64_t sum = (int64_t{1} << 22) * (i % 7 == 3 ? 2 : 1) - 1;
      for (int64_t t = 0; t < taps; ++t) {
        const bool used = t < count.back();
        // Behind the window: what a reader past `count` would be caught by.
        weights.push_back(used ? static_cast<int32_t>(random.next_below(2 * sum / count.back() + 1) / 2)
                               : INT32_MAX);
      }
    }
  }
  [[nodiscard]] ResampleAxis axis() const {
    return {first.data(), count.data(), weights.data(), std::ssize(first), stride};
  }
};

Tensor draw_bytes(const Shape& shape, uint64_t seed) {
  Random random(seed);
  Tensor image(host(), DType::kU8, shape, "image");
  for (int64_t i = 0; i < shape.numel(); ++i)
    image.data<uint8_t>()[i] = static_cast<uint8_t>(random.next_below(4) == 0 ? 255 : random.next_below(256));
  return image;
}

struct ResizeCase {
  Shape image;  ///< H,W,C
  int64_t p, q, k;
  int64_t taps_h, taps_w;
  bool height_first = false;
  bool dense_y = true;
};

void run_resize(const Subject& s, const ResizeCase& one, Alignment alignment) {
  const AxisTables height(one.image[0], one.p, one.taps_h, 201);
  const AxisTables width(one.image[1], one.q, one.taps_w, 202);
  const Tensor image = draw_bytes(one.image, 203);
  const Tensor levels = make_operand(s, {one.k, 256}, 204);
  const Shape shape{1, one.k, one.p, one.q};
  const Tensor expected(host(), DType::kF32, shape, "expected");
  kernels::resize_forward(s.oracle, {image, height.axis(), width.axis(), one.height_first, levels, expected});
  const GuardedTensor y =
      output(s, shape, one.dense_y ? Layout::kDense : s.device.activation_layout(), alignment);
  kernels::resize_forward(s.device,
                          {place(s, image, Layout::kDense, alignment).view(), height.axis(), width.axis(),
                           one.height_first, place(s, levels, Layout::kDense, alignment).view(), y.view()});
  // Integers and a table whose entries the activation dtype holds: equality.
  expect_matches(y, expected, 0.0, Zeros::kExpected);
}

const RegisterCases resize_cases([](std::vector<Case>& cases) {
  const auto add = [&](CaseKind kind, const ResizeCase& one, Alignment alignment = Alignment::kAligned) {
    cases.push_back({"resize_forward", kind,
                     text(one.image, "_to_", one.k, "x", one.p, "x", one.q, "_taps", one.taps_h, "x",
                          one.taps_w, one.height_first ? "_height_first" : "", one.dense_y ? "" : "_native"),
                     [=](const Subject& s) { run_resize(s, one, alignment); }});
  };
  for (const bool height_first : {false, true}) {
    for (const bool dense_y : {true, false}) {
      add(CaseKind::kSweep, {{1, 1, 1}, 1, 1, 1, 1, 1, height_first, dense_y});
      add(CaseKind::kSweep, {{5, 4, 3}, 9, 11, 3, 3, 3, height_first, dense_y});
      add(CaseKind::kSweep, {{61, 47, 3}, 16, 17, 3, 9, 7, height_first, dense_y});
      add(CaseKind::kSweep, {{33, 40, 1}, 15, 31, 3, 6, 5, height_first, dense_y});  // gray, replicated
      add(CaseKind::kSweep, {{20, 90, 1}, 7, 23, 1, 3, 11, height_first, dense_y});
      add(CaseKind::kSweep, {{19, 23, 2}, 8, 9, 2, 5, 5, height_first, dense_y});
      add(CaseKind::kSweep, {{64, 31, 4}, 12, 33, 4, 12, 3, height_first, dense_y});
    }
    add(CaseKind::kMisaligned, {{31, 29, 3}, 10, 13, 3, 7, 5, height_first, false}, Alignment::kMisaligned);
  }
  cases.push_back({"resize_forward", CaseKind::kEmpty, "no_positions", [](const Subject& s) {
                     const AxisTables some(4, 3, 2, 1);
                     const GuardedTensor y = output(s, {1, 3, 0, 3});
                     kernels::resize_forward(s.device, {place(s, draw_bytes({5, 4, 3}, 1)).view(),
                                                        {},
                                                        some.axis(),
                                                        false,
                                                        place(s, make_tensor({3, 256}, 1)).view(),
                                                        y.view()});
                     EXPECT_EQ(y.damage(), "");
                   }});
  cases.push_back(
      {"resize_forward", CaseKind::kError, "shapes_and_tables", [](const Subject& s) {
         const GuardedTensor image = place(s, draw_bytes({5, 4, 3}, 1));
         const GuardedTensor levels = place(s, make_tensor({3, 256}, 1));
         AxisTables height(5, 6, 2, 1);
         AxisTables width(4, 3, 2, 2);
         const auto run = [&](const GuardedTensor& x, const GuardedTensor& table, const Shape& y) {
           kernels::resize_forward(
               s.device, {x.view(), height.axis(), width.axis(), false, table.view(), output(s, y).view()});
         };
         expect_error<InvalidArgument>("resize_forward: image is f32 5x4x3, expected u8", [&] {
           run(place(s, make_tensor({5, 4, 3}, 1)), levels, {1, 3, 6, 3});
         });
         expect_error<InvalidArgument>("resize_forward: image is u8 5x4x5, expected 1 to 4 channels", [&] {
           run(place(s, draw_bytes({5, 4, 5}, 1)), levels, {1, 3, 6, 3});
         });
         expect_error<InvalidArgument>("resize_forward: levels is f32 2x256, expected 3x256", [&] {
           run(image, place(s, make_tensor({2, 256}, 1)), {1, 2, 6, 3});
         });
         expect_error<InvalidArgument>("resize_forward: y is f32 1x3x6x4, expected 1x3x6x3", [&] {
           run(image, levels, {1, 3, 6, 4});
         });
         height.first[2] = 4;
         height.count[2] = 2;
         expect_error<InvalidArgument>(
             "resize_forward: position 2 of along_height reads 2 samples from 4 of 5 (stride 2)", [&] {
               run(image, levels, {1, 3, 6, 3});
             });
         height.first[2] = 3;
         height.weights[4] = height.weights[5] = 1 << 22;
         expect_error<InvalidArgument>(
             "resize_forward: the weights of position 2 of along_height sum to 8388608, expected less than "
             "2^23",
             [&] {
               run(image, levels, {1, 3, 6, 3});
             });
         height.weights[5] = -1;
         expect_error<InvalidArgument>(
             "resize_forward: weight 1 of position 2 of along_height is -1, expected >= 0", [&] {
               run(image, levels, {1, 3, 6, 3});
             });
       }});
});

}  // namespace
}  // namespace panda::test
