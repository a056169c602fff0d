// The safetensors reader on arbitrary bytes: an Error, or tensors of the sizes listed.
#include "tests/fuzz/fuzz_tools.h"
#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return panda::fuzz::expect_errors_only([&] {
    const panda::weights::SafetensorsFile file(panda::fuzz::source_of(data, size));
    panda::fuzz::load_everything(file);
  });
}
