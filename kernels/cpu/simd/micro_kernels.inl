// Everything that one instruction set's MicroKernels holds.
namespace {
#include "kernels/cpu/simd/vector.inl"

#include "kernels/cpu/simd/add_rows.inl"
#include "kernels/cpu/simd/elementwise.inl"
#include "kernels/cpu/simd/filter_gradient.inl"
#include "kernels/cpu/simd/gemm.inl"
#include "kernels/cpu/simd/linear.inl"
#include "kernels/cpu/simd/nearest.inl"
#include "kernels/cpu/simd/tile_product.inl"
#include "kernels/cpu/simd/training.inl"
#include "kernels/cpu/simd/winograd.inl"

int64_t calls() {
  return __atomic_load_n(&call_count, __ATOMIC_RELAXED);
}
}  // namespace

const MicroKernels kKernels = {
    .isa = kIsaName,
    .max_tile = kMaxTile,
    .gemm_columns = kGemmVectors * kLanes,
    .vector_floats = kLanes,
    .calls = calls,
    .tile_product = tile_product,
    .tile_product_narrow = tile_product_narrow,
    .gemm_panel = gemm_panel,
    .gemm_narrow = gemm_narrow,
    .nearest_panel = nearest_panel,
    .transpose = transpose,
    .winograd_input = winograd_input,
    .winograd_output_gradient = winograd_output_gradient,
    .winograd_output = winograd_output,
    .winograd_filter = winograd_filter,
    .winograd_filter_gradient = winograd_filter_gradient,
    .linear = linear,
    .max_pool_row = max_pool_row,
    .avg_pool_row = avg_pool_row,
    .unary = unary,
    .binary = binary,
    .affine_blocked = affine_blocked,
    .affine = affine,
    .exp_and_sum = exp_and_sum,
    .divide = divide,
    .reduce_line = reduce_line,
    .reduce_columns = reduce_columns,
    .add_rows = add_rows,
    .add_rows_exact = add_rows_exact,
    .filter_gradient = filter_gradient,
    .combine_filter_gradient = combine_filter_gradient,
    .channel_products = channel_products,
    .batch_norm_gradient = batch_norm_gradient,
    .unary_gradient = unary_gradient,
    .max_pool_gradient_row = max_pool_gradient_row,
    .avg_pool_gradient_row = avg_pool_gradient_row,
    .scale = scale,
    .dot = dot,
    .ewc_block = ewc_block,
    .sgd_block = sgd_block,
    .adam_block = adam_block,
    .f16_to_f32 = f16_to_f32,
    .f32_to_f16 = f32_to_f16,
    .bf16_to_f32 = bf16_to_f32,
    .f32_to_bf16 = f32_to_bf16,
};
