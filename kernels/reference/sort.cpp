#include "kernels/sort.h"

#include <algorithm>
#include <functional>

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

void sort_descending(Device&, const SortDescendingArgs& args) {
  const int64_t n = args.values.numel();
  if (args.values.dtype() == DType::kI32) {
    std::sort(args.values.data<int32_t>(), args.values.data<int32_t>() + n, std::greater<>());
  } else {
    std::sort(args.values.data<int64_t>(), args.values.data<int64_t>() + n, std::greater<>());
  }
}

}  // namespace panda::kernels::reference
