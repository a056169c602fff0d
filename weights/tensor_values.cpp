#include "weights/tensor_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

/// Calls `visit(pointer to elements)` with the C++ type of the view's dtype.
template <typename Visitor>
void visit_elements(const ConstTensorView& tensor, Visitor&& visit) {
  switch (tensor.dtype()) {
    case DType::kF64:
      return visit(tensor.data<double>());
    case DType::kF32:
      return visit(tensor.data<float>());
    case DType::kF16:
      return visit(tensor.data<Float16>());
    case DType::kBF16:
      return visit(tensor.data<BFloat16>());
    case DType::kI64:
      return visit(tensor.data<int64_t>());
    case DType::kI32:
      return visit(tensor.data<int32_t>());
    case DType::kI16:
      return visit(tensor.data<int16_t>());
    case DType::kI8:
      return visit(tensor.data<int8_t>());
    case DType::kU8:
      return visit(tensor.data<uint8_t>());
    case DType::kBool:
      return visit(tensor.data<bool>());
  }
}

void check_dense_host(const ConstTensorView& tensor, const char* caller, const std::string& name) {
  PANDA_CHECK(tensor.present() && tensor.layout() == Layout::kDense && tensor.device().host_accessible(),
              caller, ": '", printable(name), "' must be a dense tensor in host memory, got ",
              tensor.to_string());
}

template <typename T>
double widen(T value) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return static_cast<double>(to_float(value));
  } else {
    return static_cast<double>(value);
  }
}

/// f64 to f32, rounded toward zero with the last bit set if anything was lost ("round to odd"): rounding the
/// result once more to 16 bits gives what one rounding from f64 would have given, because f32 keeps more than
/// two extra bits.
float round_to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value)) return nearest;
  auto bits = std::bit_cast<uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value))
    --bits;  // toward zero; from infinity to the largest float
  return std::bit_cast<float>(bits | 1u);
}

template <typename To, typename From>
To convert_element(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<To, double>) {
    return widen(value);
  } else if constexpr (std::is_same_v<To, float>) {
    if constexpr (std::is_same_v<From, double>) {
      return static_cast<float>(value);
    } else {
      return to_float(value);
    }
  } else {
    float single = 0;
    if constexpr (std::is_same_v<From, double>) {
      single = round_to_odd(value);
    } else if constexpr (std::is_same_v<From, float>) {
      single = value;
    } else {
      single = to_float(value);
    }
    if constexpr (std::is_same_v<To, Float16>) return to_float16(single);
    if constexpr (std::is_same_v<To, BFloat16>) return to_bfloat16(single);
  }
}

template <typename To, typename From>
void convert_floats(const ConstTensorView& source, const From* in, To* out, const std::string& name) {
  const int64_t count = source.numel();
  for (int64_t i = 0; i < count; ++i) {
    out[i] = convert_element<To>(in[i]);
    if constexpr (sizeof(To) < sizeof(From) || std::is_same_v<To, Float16>) {
      if (!std::isfinite(widen(out[i])) && std::isfinite(widen(in[i]))) {
        throw InvalidArgument(text("'", printable(name), "' ", index_text(source.shape(), i), ": ",
                                   widen(in[i]), " overflows ", dtype_name(DTypeOf<To>::value),
                                   "; keep a wider dtype"));
      }
    }
  }
}

}  // namespace

Tensor to_dtype(const ConstTensorView& source, DType dtype, const std::string& name) {
  check_dense_host(source, "to_dtype", name);
  if (source.dtype() == dtype) return clone_to(source, host(), "converted tensor");
  PANDA_CHECK(dtype_is_float(source.dtype()) && dtype_is_float(dtype), "to_dtype: '", printable(name),
              "' is ", dtype_name(source.dtype()), ", which converts to no other dtype (", dtype_name(dtype),
              " asked for)");
  Tensor result(host(), dtype, source.shape(), "converted tensor");
  if (source.numel() == 0) return result;
  visit_elements(source, [&](const auto* in) {
    visit_elements(result.view(), [&](const auto* out) {
      using From = std::remove_cvref_t<decltype(*in)>;
      using To = std::remove_cvref_t<decltype(*out)>;
      if constexpr (!std::is_integral_v<From> && !std::is_integral_v<To>) {
        convert_floats(source, in, const_cast<To*>(out), name);
      }
    });
  });
  return result;
}

void check_finite(const ConstTensorView& tensor, const std::string& name) {
  check_dense_host(tensor, "check_finite", name);
  if (!dtype_is_float(tensor.dtype())) return;
  visit_elements(tensor, [&](const auto* elements) {
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double value = widen(elements[i]);
      PANDA_CHECK(std::isfinite(value), "'", printable(name), "' ", index_text(tensor.shape(), i), " is ",
                  std::isnan(value) ? "NaN" : "infinite", ", expected a finite number");
    }
  });
}

ValueSummary summarize(const ConstTensorView& tensor) {
  check_dense_host(tensor, "summarize", "tensor");
  ValueSummary summary;
  summary.minimum = std::numeric_limits<double>::infinity();
  summary.maximum = -std::numeric_limits<double>::infinity();
  visit_elements(tensor, [&](const auto* elements) {
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double value = widen(elements[i]);
      if (std::isnan(value)) {
        ++summary.nan_count;
      } else if (std::isinf(value)) {
        ++summary.infinity_count;
      } else {
        ++summary.finite_count;
        summary.minimum = std::min(summary.minimum, value);
        summary.maximum = std::max(summary.maximum, value);
      }
    }
  });
  if (summary.finite_count == 0) summary.minimum = summary.maximum = 0;
  return summary;
}

void swap_bytes(const TensorView& tensor) {
  const int64_t size = dtype_bytes(tensor.dtype());
  if (size == 1) return;
  auto* bytes = static_cast<uint8_t*>(tensor.raw());
  for (int64_t i = 0; i < tensor.numel(); ++i) std::reverse(bytes + i * size, bytes + (i + 1) * size);
}

void check_bool_bytes(const ConstTensorView& tensor, const std::string& source, const std::string& name) {
  if (tensor.dtype() != DType::kBool) return;
  const auto* bytes = static_cast<const uint8_t*>(tensor.raw());
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    if (bytes[i] > 1) {
      throw FormatError(
          source, text("tensor '", printable(name), "' is bool and has the byte ", int{bytes[i]}, " at ",
                       index_text(tensor.shape(), i), ", expected 0 or 1"));
    }
  }
}

void gather_strided(const Shape& shape, const std::vector<int64_t>& strides, int64_t element_bytes,
                    const uint8_t* in, uint8_t* out) {
  const int rank = shape.rank();
  const auto size = static_cast<size_t>(element_bytes);
  std::vector<int64_t> index(static_cast<size_t>(rank), 0);
  int64_t at = 0;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    std::memcpy(out + i * element_bytes, in + at * element_bytes, size);
    for (int d = rank - 1; d >= 0; --d) {
      const auto dim = static_cast<size_t>(d);
      at += strides[dim];
      if (++index[dim] < shape[d]) break;
      at -= strides[dim] * index[dim];
      index[dim] = 0;
    }
  }
}

std::string index_text(const Shape& shape, int64_t linear_index) {
  std::string joined;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    const int64_t extent = std::max<int64_t>(shape[d], 1);
    joined = std::to_string(linear_index % extent) + (joined.empty() ? "" : ", ") + joined;
    linear_index /= extent;
  }
  return "[" + joined + "]";
}

}  // namespace panda::weights
