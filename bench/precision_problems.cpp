// Forward kernels, and how operands and results travel.
#include <cmath>
#include <utility>

#include "bench/precision_problems.h"
#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/pool2d.h"
#include "kernels/reduce.h"
#include "kernels/tensor/random.h"

namespace panda::bench {

namespace {

Tensor random_tensor(const Shape& shape, uint64_t seed, double low, double high) {
  Random random(seed);
  Tensor tensor(host(), DType::kF32, shape, "operand");
  for (int64_t i = 0; i < shape.numel(); ++i)
    tensor.data<float>()[i] = static_cast<float>(random.next_uniform(low, high));
  return tensor;
}

}  // namespace

Tensor Side::arranged(const Tensor& dense, bool image) const {
  Tensor result(host(), image ? image_dtype() : dtype_, dense.shape(), "operand",
                image ? image_layout() : Layout::kDense);
  kernels::convert(reference_, {dense, result});
  return clone_to(result, device_);
}

Tensor Side::put(const Shape& shape, uint64_t seed, double low, double high, bool image) const {
  return arranged(random_tensor(shape, seed, low, high), image);
}

Tensor Side::put_integers(const Shape& shape, uint64_t seed, double low, double high, bool image) const {
  const Tensor dense = random_tensor(shape, seed, low, high);
  for (int64_t i = 0; i < shape.numel(); ++i) dense.data<float>()[i] = std::floor(dense.data<float>()[i]);
  return arranged(dense, image);
}

Tensor Side::put_labels(int64_t n, uint64_t seed, int64_t count) const {
  Random random(seed);
  const Tensor labels(host(), DType::kI64, {n}, "labels");
  for (int64_t i = 0; i < n; ++i) labels.data<int64_t>()[i] = random.next_below(count);
  return clone_to(labels, device_);
}

Tensor Side::make(const Shape& shape, bool image) const {
  return image ? Tensor(device_, image_dtype(), shape, "result", image_layout())
               : Tensor(device_, dtype_, shape, "result");
}

std::vector<double> Side::get(const Tensor& result) const {
  const Tensor there = clone_to(result, host());
  Tensor dense(host(), DType::kF64, result.shape(), "result");
  kernels::convert(reference_, {there, dense});
  return {dense.data<double>(), dense.data<double>() + dense.numel()};
}

Layout Side::image_layout() const {
  return oracle() ? Layout::kDense : device_.activation_layout();
}

DType Side::image_dtype() const {
  if (oracle() || image_layout() == Layout::kDense) return dtype_;
  return activation_dtype(device_.precision());
}

namespace {

struct ConvShape {
  int64_t c, hw, k, r, stride, pad;
  bool image_input;
};

Tensor run_conv(const Side& side, const ConvShape& shape) {
  const Tensor x = side.put({1, shape.c, shape.hw, shape.hw}, 1, 0, 1, shape.image_input);
  const Tensor weights = side.put({shape.k, shape.c, shape.r, shape.r}, 2);
  const Tensor bias = side.put({shape.k}, 3);
  const kernels::Conv2dFilter filter = kernels::conv2d_prepare_filter(
      side.device(), weights, {shape.stride, shape.stride, shape.pad, shape.pad});
  const int64_t p = kernels::Conv2dGeometry::output_extent(shape.hw, shape.r, shape.stride, shape.pad);
  Tensor y = side.make({1, shape.k, p, p}, true);
  kernels::conv2d_forward(side.device(), {x, &filter, bias, {}, y, false});
  return y;
}

}  // namespace

std::vector<Problem> forward_problems() {
  std::vector<Problem> all;
  const auto add = [&](std::string kernel, std::string shape, std::function<Tensor(const Side&)> run) {
    all.push_back({std::move(kernel), std::move(shape), std::move(run)});
  };
  add("gemm", "96x576 by 576x80", [](const Side& side) {
    Tensor c = side.make({96, 80});
    kernels::gemm(side.device(), {side.put({96, 576}, 1), side.put({576, 80}, 2), c, false, false, false});
    return c;
  });
  add("linear_forward", "8x512 to 8x100", [](const Side& side) {
    Tensor y = side.make({8, 100});
    kernels::linear_forward(side.device(),
                            {side.put({8, 512}, 1, 0, 1), side.put({100, 512}, 2), side.put({100}, 3), y});
    return y;
  });
  add("conv2d_forward", "3x3, 64 to 64, 14x14", [](const Side& side) {
    return run_conv(side, {64, 14, 64, 3, 1, 1, true});
  });
  add("conv2d_forward", "1x1, 256 to 64, 14x14", [](const Side& side) {
    return run_conv(side, {256, 14, 64, 1, 1, 0, true});
  });
  add("conv2d_forward", "7x7 stride 2, 3 to 64, 32x32, dense x", [](const Side& side) {
    return run_conv(side, {3, 32, 64, 7, 2, 3, false});
  });
  add("batch_norm_forward", "64 channels, 14x14", [](const Side& side) {
    Tensor y = side.make({1, 64, 14, 14}, true);
    kernels::BatchNormForwardArgs args;
    const Tensor x = side.put({1, 64, 14, 14}, 1, -1, 1, true);
    const Tensor gamma = side.put({64}, 2);
    const Tensor beta = side.put({64}, 3);
    const Tensor mean = side.put({64}, 4);
    const Tensor variance = side.put({64}, 5, 0.5, 2);
    args.x = x;
    args.gamma = gamma;
    args.beta = beta;
    args.mean = mean;
    args.variance = variance;
    args.y = y;
    kernels::batch_norm_forward(side.device(), args);
    return y;
  });
  add("max_pool2d_forward", "3x3 stride 2, 64 channels, 28x28", [](const Side& side) {
    Tensor y = side.make({1, 64, 14, 14}, true);
    kernels::max_pool2d_forward(side.device(),
                                {side.put({1, 64, 28, 28}, 1, -1, 1, true), {3, 3, 2, 2, 1, 1}, y});
    return y;
  });
  add("avg_pool2d_forward", "3x3, 64 channels, 14x14", [](const Side& side) {
    Tensor y = side.make({1, 64, 14, 14}, true);
    kernels::avg_pool2d_forward(side.device(),
                                {side.put({1, 64, 14, 14}, 1, 0, 1, true), {3, 3, 1, 1, 1, 1}, y});
    return y;
  });
  add("global_avg_pool2d_forward", "64 channels, 14x14", [](const Side& side) {
    Tensor y = side.make({1, 64});
    kernels::global_avg_pool2d_forward(side.device(), {side.put({1, 64, 14, 14}, 1, 0, 1, true), y});
    return y;
  });
  for (const auto& [name, op] :
       std::vector<std::pair<std::string, kernels::UnaryOp>>{{"exp", kernels::UnaryOp::kExp},
                                                             {"log", kernels::UnaryOp::kLog},
                                                             {"sigmoid", kernels::UnaryOp::kSigmoid}}) {
    add("unary_forward", text(name, ", 4096 values"), [op = op](const Side& side) {
      Tensor y = side.make({4096});
      kernels::unary_forward(side.device(), {op, side.put({4096}, 1, 0.01, 10), y});
      return y;
    });
  }
  add("binary_forward", "divide, 4096 values", [](const Side& side) {
    Tensor y = side.make({4096});
    kernels::binary_forward(
        side.device(), {kernels::BinaryOp::kDivide, side.put({4096}, 1), side.put({4096}, 2, 0.5, 2), y});
    return y;
  });
  add("softmax_forward", "8x1000", [](const Side& side) {
    Tensor y = side.make({8, 1000});
    kernels::softmax_forward(side.device(), {side.put({8, 1000}, 1, -10, 10), y});
    return y;
  });
  add("reduce_forward", "sum, 1000 of 64", [](const Side& side) {
    Tensor y = side.make({64});
    kernels::reduce_forward(side.device(), {kernels::ReduceOp::kSum, side.put({1000, 64}, 1, 0, 1), 0, y});
    return y;
  });
  add("normalize_rows_forward", "8x512", [](const Side& side) {
    Tensor y = side.make({8, 512});
    kernels::normalize_rows_forward(side.device(), {side.put({8, 512}, 1), y});
    return y;
  });
  return all;
}

const std::vector<ExactKernel>& exact_kernels() {
  static const std::vector<ExactKernel> exact = {
      {"conv2d_prepare_filter", "copies, rounded once: part of `conv2d_forward` above"},
      {"conv2d_prepare_transposed_filter", "copies, rounded once: part of `conv2d_backward_input` above"},
      {"convert", "each element correctly rounded to the other type"},
      {"upsample_nearest2d_forward", "copies"},
      {"resize_forward", "integers, as Pillow's"},
      {"sort_descending", "integers"},
      {"kmeans_accumulate", "f64 sums in an order that the contract fixes"},
      {"kmeans_exchange", "f64 sums that do not round"},
      {"knn_search", "f64 distances in an order that the contract fixes"},
      {"knn_gallery_search", "the same; f16 products only discard what provably is not among the first k"},
      {"knn_gallery_prepare", "codes and bounds that decide nothing of a result"}};
  return exact;
}

}  // namespace panda::bench
