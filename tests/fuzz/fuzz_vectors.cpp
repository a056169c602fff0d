// Files of vectors on arbitrary bytes: the first one chooses the format.
#include "tests/fuzz/fuzz_tools.h"
#include "weights/vector_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  return panda::fuzz::expect_errors_only([&] {
    const auto format = static_cast<panda::weights::VectorFormat>(data[0] % 4);
    const panda::weights::VectorFile file(panda::fuzz::source_of(data + 1, size - 1), format);
    const panda::Tensor rows = file.read(0, file.count());
    if (rows.shape()[0] != file.count() || rows.shape()[1] != file.d() || rows.dtype() != file.dtype())
      std::abort();
  });
}
