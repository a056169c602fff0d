#include "kernels/cpu/cpu_device.h"

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/tensor/text.h"

namespace panda::kernels::cpu {

CpuDevice::CpuDevice(int thread_count, Isa isa, bool tiles)
    : threads_(thread_count),
      isa_(isa),
      micro_(micro_kernels(isa)),
      exact_(exact_kernels(isa)),
      knn_(knn_kernels(isa)),
      amx_(tiles ? amx_kernels(isa) : nullptr),
      knn_tiles_(tiles ? knn_tile_kernels(isa) : nullptr),
      nearest_codes_(nearest_code_kernels(isa)) {}

std::string CpuDevice::description() const {
  return text(threads_.thread_count(), threads_.thread_count() == 1 ? " thread, " : " threads, ",
              isa_name(isa_), amx_ != nullptr ? " with AMX" : "");
}

const KernelTable& CpuDevice::kernels() const {
  static const KernelTable table = {
#define PANDA_KERNEL(name, Args) .name = cpu::name,
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL
  };
  return table;
}

}  // namespace panda::kernels::cpu
