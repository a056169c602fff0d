// Convolution on the cpu device: choice of the algorithm, packing of filters, operands into the blocked
// layout.
#include "kernels/cpu/conv2d.h"

#include <cstring>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cpu {

namespace {

// Winograd saves up to 4x the multiplications, for transforms that cost 2*36*16/(K or C) of them, and a
// filter 4 times as large. Below 32 channels the transforms eat the gain. Above 512 x 512 the filter (38 MB
// there) leaves every cache and, at batch 1, reading it costs more than the multiplications it saves; see
// docs/decisions/cpu-convolution.md for the measurements.
constexpr int64_t kWinogradMinChannels = 32;
constexpr int64_t kWinogradMaxFilter = 512 * 512;

const float* padded_bias(CpuDevice& device, const ConstTensorView& bias, std::optional<Scratch>& scratch) {
  if (!bias.present()) return nullptr;
  const int64_t k = bias.numel();
  if (k % kChannelBlock == 0) return bias.data<float>();
  scratch.emplace(device.scratch().take_array<float>(round_up(k, kChannelBlock)));
  auto* padded = scratch->data<float>();
  std::memset(padded, 0, static_cast<size_t>(round_up(k, kChannelBlock)) * sizeof(float));
  std::memcpy(padded, bias.data<float>(), static_cast<size_t>(k) * sizeof(float));
  return padded;
}

}  // namespace

const float* blocked(CpuDevice& device, const ConstTensorView& view, std::optional<Scratch>& scratch) {
  if (view.layout() == Layout::kChannelBlocked16) return view.data<float>();
  scratch.emplace(device.scratch().take_array<float>(stored_numel(view.shape(), Layout::kChannelBlocked16)));
  const TensorView copy(scratch->data<float>(), DType::kF32, view.shape(), device, Layout::kChannelBlocked16);
  cpu::convert(device, {view, copy});
  return copy.data<float>();
}

ConvAlgorithm choose_algorithm(const Conv2dFilter& f) {
  if (f.c < kChannelBlock && f.s * f.c <= kNarrowPixel) return ConvAlgorithm::kNarrow;
  const bool winograd = f.r == 3 && f.s == 3 && f.geometry.stride_h == 1 && f.geometry.stride_w == 1 &&
                        f.c >= kWinogradMinChannels && f.k >= kWinogradMinChannels &&
                        f.c * f.k <= kWinogradMaxFilter;
  return winograd ? ConvAlgorithm::kWinograd : ConvAlgorithm::kDirect;
}

int64_t packed_floats(const Conv2dFilter& f) {
  const int64_t k = round_up(f.k, kFilterBlock);
  const int64_t c = round_up(f.c, kChannelBlock);
  switch (static_cast<ConvAlgorithm>(f.algorithm)) {
    case ConvAlgorithm::kDirect:
      return k * c * f.r * f.s;
    case ConvAlgorithm::kNarrow:
      return k * f.r * f.s * f.c;
    case ConvAlgorithm::kWinograd:
      return k * c * 36;
  }
  throw InternalError("unknown convolution algorithm");
}

FilterSource dense_source(const float* filter, int64_t c, int64_t taps) {
  FilterSource source{filter, c * taps, taps, {}};
  for (int64_t tap = 0; tap < taps; ++tap) source.taps.push_back(tap);
  return source;
}

namespace {

/// Filters with more taps are rare, and their blocks large: they are gathered one coefficient at a time.
constexpr int64_t kBlockTaps = 9;

/// One coefficient after another, along the source's lines: its rows lie whole pages apart, the block stays
/// in L1 in any order.
void gather_coefficients(const FilterSource& source, const FilterBlock& block, const float* start,
                         int64_t k_count, int64_t c_count, float* to) {
  const int64_t* taps = source.taps.data();
  const auto tap_count = static_cast<int64_t>(source.taps.size());
  const auto copy = [&](int64_t k, int64_t c) {
    const float* from = start + k * source.k_stride + c * source.c_stride;
    float* coefficients = to + c * block.c_stride + k;
    for (int64_t tap = 0; tap < tap_count; ++tap) coefficients[tap * block.tap_stride] = from[taps[tap]];
  };
  if (source.c_stride < source.k_stride) {
    for (int64_t k = 0; k < k_count; ++k) {
      for (int64_t c = 0; c < c_count; ++c) copy(k, c);
    }
  } else {
    for (int64_t c = 0; c < c_count; ++c) {
      for (int64_t k = 0; k < k_count; ++k) copy(k, c);
    }
  }
}

/// An output channel's coefficients lie side by side: its line of channels and taps, turned.
void gather_forward(const MicroKernels& micro, const FilterSource& source, const FilterBlock& block,
                    const float* start, int64_t k_count, int64_t c_count, float* to) {
  if (source.c_stride == 1)
    return micro.transpose(start, source.k_stride, k_count, c_count, to, block.c_stride);
  float lines[kChannelBlock * kBlockTaps * kFilterBlock];  // [c][tap][32 k]
  micro.transpose(start, source.k_stride, k_count, c_count * source.c_stride, lines, kFilterBlock);
  for (int64_t c = 0; c < c_count; ++c) {
    for (size_t tap = 0; tap < source.taps.size(); ++tap) {
      std::memcpy(to + c * block.c_stride + static_cast<int64_t>(tap) * block.tap_stride,
                  lines + (c * source.c_stride + source.taps[tap]) * kFilterBlock,
                  static_cast<size_t>(k_count) * sizeof(float));
    }
  }
}

/// An input channel's coefficients lie side by side: its line of outputs and taps, turned, and each tap
/// turned back.
void gather_turned(const MicroKernels& micro, const FilterSource& source, const FilterBlock& block,
                   const float* start, int64_t k_count, int64_t c_count, float* to) {
  if (source.k_stride == 1) {
    for (int64_t c = 0; c < c_count; ++c)
      std::memcpy(to + c * block.c_stride, start + c * source.c_stride,
                  static_cast<size_t>(k_count) * sizeof(float));
    return;
  }
  float columns[kFilterBlock * kBlockTaps * kChannelBlock];  // [k][tap][16 c]
  micro.transpose(start, source.c_stride, c_count, k_count * source.k_stride, columns, kChannelBlock);
  for (size_t tap = 0; tap < source.taps.size(); ++tap) {
    micro.transpose(columns + source.taps[tap] * kChannelBlock, source.k_stride * kChannelBlock, k_count,
                    c_count, to + static_cast<int64_t>(tap) * block.tap_stride, block.c_stride);
  }
}

}  // namespace

void gather_filter_block(const MicroKernels& micro, const FilterSource& source, const FilterBlock& block,
                         float* to) {
  const int64_t k_count = std::min(kFilterBlock, block.k_end - block.k_begin);
  const int64_t c_count = std::min(kChannelBlock, block.c_end - block.c_begin);
  const auto tap_count = static_cast<int64_t>(source.taps.size());
  if (k_count < kFilterBlock || c_count < kChannelBlock) {
    for (int64_t c = 0; c < kChannelBlock; ++c) {
      for (int64_t tap = 0; tap < tap_count; ++tap)
        std::memset(to + c * block.c_stride + tap * block.tap_stride, 0, kFilterBlock * sizeof(float));
    }
  }
  const float* start = source.data + block.k_begin * source.k_stride + block.c_begin * source.c_stride;
  const int64_t all_taps = std::min(source.k_stride, source.c_stride);
  // A phase of a strided filter wants few of the taps: turning all of them costs more than it saves.
  if (all_taps > kBlockTaps || 2 * tap_count <= all_taps)
    return gather_coefficients(source, block, start, k_count, c_count, to);
  if (source.c_stride < source.k_stride) {
    gather_forward(micro, source, block, start, k_count, c_count, to);
  } else {
    gather_turned(micro, source, block, start, k_count, c_count, to);
  }
}

void pack_filter(Device& device, const FilterSource& source, Conv2dFilter& prepared) {
  const int64_t floats = packed_floats(prepared);
  if (!prepared.packed.present() || prepared.packed.numel() < floats) {
    prepared.packed = Tensor();  // before, not after: the old and the new are never held together
    prepared.packed = Tensor(device, DType::kF32, Shape{floats}, "filter");
  }
  auto* packed = prepared.packed.data<float>();
  switch (static_cast<ConvAlgorithm>(prepared.algorithm)) {
    case ConvAlgorithm::kDirect:
      return pack_direct(cpu_device(device), source, prepared, packed);
    case ConvAlgorithm::kNarrow:
      return pack_narrow(source, prepared, packed);
    case ConvAlgorithm::kWinograd:
      return pack_winograd(cpu_device(device), source, prepared, packed);
  }
}

void conv2d_prepare_filter(Device& device, const Conv2dPrepareFilterArgs& args) {
  Conv2dFilter& prepared = *args.prepared;
  prepared.algorithm = static_cast<int>(choose_algorithm(prepared));
  pack_filter(device, dense_source(args.filter.data<float>(), prepared.c, prepared.r * prepared.s), prepared);
}

void conv2d_forward(Device& base, const Conv2dForwardArgs& args) {
  CpuDevice& device = cpu_device(base);
  const auto algorithm = static_cast<ConvAlgorithm>(args.filter->algorithm);
  const Shape& x = args.x.shape();
  const Shape& y = args.y.shape();
  std::optional<Scratch> x_copy;
  std::optional<Scratch> residual_copy;
  std::optional<Scratch> bias_copy;
  std::optional<Scratch> y_copy;
  const bool x_as_is = algorithm != ConvAlgorithm::kWinograd;
  const bool y_as_is = args.y.layout() == Layout::kChannelBlocked16;
  if (!y_as_is)
    y_copy.emplace(device.scratch().take_array<float>(stored_numel(y, Layout::kChannelBlocked16)));
  const ConvProblem problem{
      .device = device,
      .filter = *args.filter,
      .x = x_as_is ? args.x.data<float>() : blocked(device, args.x, x_copy),
      .x_layout = x_as_is ? args.x.layout() : Layout::kChannelBlocked16,
      .n = x[0],
      .h = x[2],
      .w = x[3],
      .p = y[2],
      .q = y[3],
      .bias = padded_bias(device, args.bias, bias_copy),
      .residual = args.residual.present() ? blocked(device, args.residual, residual_copy) : nullptr,
      .y = y_as_is ? args.y.data<float>() : y_copy->data<float>(),
      .relu = args.relu,
  };
  if (algorithm == ConvAlgorithm::kWinograd) {
    conv2d_winograd(problem);
  } else {
    conv2d_direct(problem);
  }
  if (!y_as_is)
    cpu::convert(device,
                 {ConstTensorView(problem.y, DType::kF32, y, device, Layout::kChannelBlocked16), args.y});
}

}  // namespace panda::kernels::cpu
