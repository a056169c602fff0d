#include "kernels/checks.h"

#include <algorithm>

namespace panda::kernels {

namespace {

std::string dtype_names(std::initializer_list<DType> dtypes) {
  std::string names;
  for (const DType dtype : dtypes) names += (names.empty() ? "" : " or ") + std::string(dtype_name(dtype));
  return names;
}

}  // namespace

void OperandCheck::present(const char* name, const ConstTensorView& view, int rank,
                           std::initializer_list<DType> dtypes) const {
  PANDA_CHECK(view.present(), kernel_, ": ", name, " is absent");
  const bool reachable =
      &view.device() == &device_ || (device_.host_accessible() && view.device().host_accessible());
  PANDA_CHECK(reachable, kernel_, ": ", name, " is on device ", view.device().name(), ", expected ",
              device_.name());
  const bool oracle_f64 = view.dtype() == DType::kF64 && dtypes.size() == 1 &&
                          *dtypes.begin() == DType::kF32 && device_.kernels().takes_f64;
  PANDA_CHECK(oracle_f64 || std::find(dtypes.begin(), dtypes.end(), view.dtype()) != dtypes.end(), kernel_,
              ": ", name, " is ", view.to_string(), ", expected ", dtype_names(dtypes));
  PANDA_CHECK(view.shape().rank() == rank, kernel_, ": ", name, " is ", view.to_string(), ", expected rank ",
              rank);
}

void OperandCheck::shape(const char* name, const ConstTensorView& view, const Shape& expected,
                         std::initializer_list<DType> dtypes) const {
  present(name, view, expected.rank(), dtypes);
  PANDA_CHECK(view.shape() == expected, kernel_, ": ", name, " is ", view.to_string(), ", expected ",
              expected);
}

void OperandCheck::dense(const char* name, const ConstTensorView& view) const {
  PANDA_CHECK(view.layout() == Layout::kDense, kernel_, ": ", name, " is in layout ",
              layout_name(view.layout()), ", expected dense");
}

void OperandCheck::image(const char* name, const ConstTensorView& view) const {
  const bool dense = view.layout() == Layout::kDense;
  present(name, view, 4, {dense ? DType::kF32 : activation_dtype(device_.precision())});
  PANDA_CHECK(view.layout() == Layout::kDense || view.layout() == device_.activation_layout(), kernel_, ": ",
              name, " is in layout ", layout_name(view.layout()), ", expected dense or ",
              layout_name(device_.activation_layout()));
}

void OperandCheck::image(const char* name, const ConstTensorView& view, const Shape& expected) const {
  image(name, view);
  PANDA_CHECK(view.shape() == expected, kernel_, ": ", name, " is ", view.to_string(), ", expected ",
              expected);
}

void OperandCheck::no_overlap(const char* output_name, const ConstTensorView& output, const char* input_name,
                              const ConstTensorView& input, bool in_place) const {
  if (!output.present() || !input.present() || output.bytes() == 0 || input.bytes() == 0) return;
  if (in_place && output.raw() == input.raw() && output.bytes() == input.bytes()) return;
  const char* o = static_cast<const char*>(output.raw());
  const char* i = static_cast<const char*>(input.raw());
  PANDA_CHECK(o + output.bytes() <= i || i + input.bytes() <= o, kernel_, ": ", output_name, " overlaps ",
              input_name);
}

}  // namespace panda::kernels
