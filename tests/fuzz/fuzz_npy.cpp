// .npy and .npz on arbitrary bytes.
#include "tests/fuzz/fuzz_tools.h"
#include "weights/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return panda::fuzz::expect_errors_only([&] {
    const auto source = panda::fuzz::source_of(data, size);
    if (size > 0 && data[0] == 'P') {
      panda::fuzz::load_everything(*panda::weights::open_npz(source));
    } else if (panda::weights::read_npy(source).shape() != panda::weights::npy_info(source).shape) {
      std::abort();
    }
  });
}
