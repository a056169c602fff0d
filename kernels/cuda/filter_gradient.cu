// filter_gradient_as for the four kinds of product (filter_gradient.cuh).
#include "kernels/cuda/filter_gradient.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

template <typename Kind, typename InputX, typename InputY>
void launch(GpuDevice& device, const FilterGradientProblem& problem, dim3 grid) {
  using Math = typename Kind::template Math<kFilterTile, kFilterTile>;
  PANDA_LAUNCH((filter_gradient<Math, InputX, InputY>), grid, dim3(Math::kThreads),
               static_cast<size_t>(kFilterGradientBytes), device, problem);
}

}  // namespace

template <typename Kind>
void filter_gradient_as(GpuDevice& device, const FilterGradientProblem& problem, int64_t groups, bool x_f32,
                        bool y_f32) {
  using Element = typename Kind::Element;
  const dim3 grid = grid_for(checked_mul(groups, int64_t{problem.row_tiles} * problem.column_tiles), 1);
  if constexpr (sizeof(Element) == sizeof(float)) {
    launch<Kind, float, float>(device, problem, grid);
  } else if (x_f32) {
    if (y_f32) return launch<Kind, float, float>(device, problem, grid);
    launch<Kind, float, Element>(device, problem, grid);
  } else {
    if (y_f32) return launch<Kind, Element, float>(device, problem, grid);
    launch<Kind, Element, Element>(device, problem, grid);
  }
}

template void filter_gradient_as<F16Kind>(GpuDevice&, const FilterGradientProblem&, int64_t, bool, bool);
template void filter_gradient_as<BF16Kind>(GpuDevice&, const FilterGradientProblem&, int64_t, bool, bool);
template void filter_gradient_as<Tf32Kind>(GpuDevice&, const FilterGradientProblem&, int64_t, bool, bool);
template void filter_gradient_as<F32Kind>(GpuDevice&, const FilterGradientProblem&, int64_t, bool, bool);

}  // namespace panda::kernels::PANDA_TARGET
