#include "kernels/sort.h"

#include "kernels/checks.h"

namespace panda::kernels {

void sort_descending(Device& device, const SortDescendingArgs& args) {
  const OperandCheck check("sort_descending", device);
  check.present("values", args.values, 1, {DType::kI32, DType::kI64});
  check.dense("values", args.values);
  PANDA_CHECK(args.values.numel() <= INT32_MAX, "sort_descending: ", args.values.numel(),
              " values, expected fewer than 2^31");
  if (args.values.numel() == 0) return;
  launch("sort_descending", device.kernels().sort_descending, device, args);
}

}  // namespace panda::kernels
