#include "kernels/reference/reference_device.h"

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

const KernelTable& ReferenceDevice::kernels() const {
  static const KernelTable table = {
#define PANDA_KERNEL(name, Args) .name = reference::name,
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL
      .takes_f64 = true,
  };
  return table;
}

}  // namespace panda::kernels::reference
