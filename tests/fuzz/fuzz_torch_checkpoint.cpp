// All three containers of PyTorch checkpoints on arbitrary bytes.
#include "tests/fuzz/fuzz_tools.h"
#include "weights/torch_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return panda::fuzz::expect_errors_only([&] {
    const auto file = panda::weights::open_torch_checkpoint(panda::fuzz::source_of(data, size));
    panda::fuzz::load_everything(*file);
  });
}
