// conv2d_backward_filter (kernels/conv2d_backward.h): the choice of groups and precision, and the join of
// what filter_gradient.cuh makes.
//
// WHAT   dL_dfilter[k,c,r,s] = sum over groups of sums[group, k, (r S + s) C + c], squares likewise, f64;
//        dots[n,k] = sum over column tiles
// READS  the groups' results once · WRITES the gradients
// LAUNCH joins: a thread an element
// LIMITS filter_gradient.cuh; the groups' results take 4 B an element of the filter and group, twice with
//        squares
// SOURCE kernels/conv2d_backward.h
#include "kernels/conv2d_backward.h"

#include <algorithm>

#include "kernels/cuda/filter_gradient.cuh"
#include "kernels/cuda/gpu_kernels.h"
#include "kernels/cuda/gradient_output.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int64_t kLargestExtent = int64_t{1} << 30;
/// Blocks that fill a GPU of some 130 multiprocessors twice: the images of small filters are cut into as many
/// groups as make that. A constant, so that no result depends on the GPU.
constexpr int64_t kWantedBlocks = 264;

/// partial: groups x K x R S C.
__global__ void __launch_bounds__(kBlockThreads)
    join_groups(const float* __restrict__ partial, GradientOutput<float> gradient, int64_t groups,
                int64_t channels, int64_t taps, int64_t numel) {
  const int64_t i = thread_index();
  if (i >= numel) return;
  int64_t tap;
  int64_t c;
  const int64_t k = divide(divide(i, taps, tap), channels, c);
  const int64_t at = (k * taps + tap) * channels + c;
  double sum = 0;
  for (int64_t group = 0; group < groups; ++group) sum += partial[group * numel + at];
  gradient.put(i, sum);
}

/// partial: N x column tiles x K.
__global__ void __launch_bounds__(kBlockThreads)
    join_dots(const float* __restrict__ partial, float* __restrict__ dots, int64_t tiles, int64_t k_count,
              int64_t numel) {
  const int64_t i = thread_index();
  if (i >= numel) return;
  int64_t k;
  const int64_t n = divide(i, k_count, k);
  double sum = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) sum += partial[(n * tiles + tile) * k_count + k];
  dots[i] = static_cast<float>(sum);
}

FilterGradientProblem problem_of(const Conv2dBackwardFilterArgs& args, const Shape& filter) {
  const Shape& xs = args.x.shape();
  const Shape& ys = args.dL_dy.shape();
  const ImageLayout x = image_layout(args.x);
  const ImageLayout y = image_layout(args.dL_dy);
  PANDA_CHECK(filter.numel() / filter[0] < kLargestExtent && filter[0] < kLargestExtent &&
                  ys[2] * ys[3] < kLargestExtent && xs[2] < kLargestExtent && xs[3] < kLargestExtent &&
                  xs[0] < kLargestExtent && args.geometry.pad_h < kLargestExtent / 2 &&
                  args.geometry.pad_w < kLargestExtent / 2,
              "conv2d_backward_filter: x is ", xs, " and the filter ", filter,
              ", expected extents below 2^30 on this device");
  FilterGradientProblem problem{};
  problem.x = args.x.raw();
  problem.dL_dy = args.dL_dy.raw();
  problem.x_stride_n = x.stride_n;
  problem.x_stride_c = x.stride_c;
  problem.x_stride_h = x.stride_h;
  problem.x_stride_w = x.stride_w;
  problem.y_stride_n = y.stride_n;
  problem.y_stride_k = y.stride_c;
  problem.y_stride_pixel = y.stride_w;
  problem.height = static_cast<int>(xs[2]);
  problem.width = static_cast<int>(xs[3]);
  problem.channels = static_cast<int>(filter[1]);
  problem.pixels = static_cast<int>(ys[2] * ys[3]);
  problem.row_pixels = static_cast<int>(ys[3]);
  problem.k = static_cast<int>(filter[0]);
  problem.columns = static_cast<int>(filter.numel() / filter[0]);
  problem.stride_h = static_cast<int>(args.geometry.stride_h);
  problem.stride_w = static_cast<int>(args.geometry.stride_w);
  problem.pad_h = static_cast<int>(args.geometry.pad_h);
  problem.pad_w = static_cast<int>(args.geometry.pad_w);
  problem.by_channels = FastDivisor(filter[1]);
  problem.by_filter_width = FastDivisor(filter[3]);
  problem.images = static_cast<int>(xs[0]);
  problem.row_tiles = static_cast<int>(ceil_div(filter[0], kFilterTile));
  problem.column_tiles = static_cast<int>(ceil_div(problem.columns, kFilterTile));
  problem.taps = static_cast<int>(filter[2] * filter[3]);
  return problem;
}

void run(GpuDevice& device, const FilterGradientProblem& problem, int64_t groups,
         const Conv2dBackwardFilterArgs& args) {
  const bool x_f32 = args.x.dtype() == DType::kF32;
  const bool y_f32 = args.dL_dy.dtype() == DType::kF32;
  switch (device.precision()) {
    case Precision::kF32:
      return filter_gradient_as<F32Kind>(device, problem, groups, x_f32, y_f32);
    case Precision::kTf32:
      return filter_gradient_as<Tf32Kind>(device, problem, groups, x_f32, y_f32);
    case Precision::kF16:
      return filter_gradient_as<F16Kind>(device, problem, groups, x_f32, y_f32);
    case Precision::kBF16:
      return filter_gradient_as<BF16Kind>(device, problem, groups, x_f32, y_f32);
  }
}

void join(GpuDevice& device, const float* partial, const Gradient& gradient, int64_t groups,
          const Shape& filter) {
  if (!gradient.wanted()) return;
  PANDA_LAUNCH(join_groups, grid_for(filter.numel(), kBlockThreads), dim3(kBlockThreads), 0, device, partial,
               gradient_output<float>(gradient), groups, filter[1], filter[2] * filter[3], filter.numel());
}

}  // namespace

void conv2d_backward_filter(Device& base, const Conv2dBackwardFilterArgs& args) {
  constexpr const char* kName = "conv2d_backward_filter";
  GpuDevice& device = gpu_device(base);
  const Shape filter = args.dL_dfilter.wanted() ? args.dL_dfilter.view.shape()
                       : args.squares.wanted()  ? args.squares.view.shape()
                                                : args.filter.shape();
  FilterGradientProblem problem = problem_of(args, filter);
  const int64_t tiles = int64_t{problem.row_tiles} * problem.column_tiles;
  // No images or no pixels: no groups, and all sums are zeros.
  const bool empty = problem.images == 0 || problem.pixels == 0;
  const int64_t most = std::clamp<int64_t>(ceil_div(kWantedBlocks, tiles), 1, std::max(problem.images, 1));
  problem.images_per_group = static_cast<int>(ceil_div(std::max(problem.images, 1), most));
  const int64_t groups = empty ? 0 : ceil_div(problem.images, problem.images_per_group);
  const int64_t bytes = checked_mul(checked_mul(groups, filter.numel()), sizeof(float));
  const bool dots = args.dots.present();
  const int64_t dot_tiles = empty ? 0 : problem.column_tiles;
  const Storage sums(device, bytes, kName);
  const Storage squares(device, args.squares.wanted() ? bytes : 0, kName);
  const Storage partial_dots(
      device, dots ? checked_mul(checked_mul(args.dots.numel(), dot_tiles), sizeof(float)) : 0, kName);
  problem.sums = static_cast<float*>(sums.data());
  problem.squares = static_cast<float*>(squares.data());
  problem.filter = dots ? args.filter.data<float>() : nullptr;
  problem.dots = static_cast<float*>(partial_dots.data());
  if (!empty) run(device, problem, groups, args);
  join(device, problem.sums, args.dL_dfilter, groups, filter);
  join(device, problem.squares, args.squares, groups, filter);
  if (!dots || args.dots.numel() == 0) return;
  PANDA_LAUNCH(join_dots, grid_for(args.dots.numel(), kBlockThreads), dim3(kBlockThreads), 0, device,
               problem.dots, args.dots.data<float>(), dot_tiles, filter[0], args.dots.numel());
}

}  // namespace panda::kernels::PANDA_TARGET
