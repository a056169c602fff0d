// The .npy header and labels of data sets: an error, or exactly the integers that the file holds.
#include <cstdlib>

#include "data/npy_header.h"
#include "kernels/tensor/error.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace panda;
  const fuzz::MemoryFile file(data, bytes);
  try {
    const auto store = data::parts::file_store(file.path());
    const data::parts::NpyHeader header = data::parts::read_npy_header(*store, "x");
    if (header.data_offset > store->size()) std::abort();
    const std::vector<int64_t> values = data::parts::read_npy_integers(*store, "x");
    if (header.shape.size() != 1 || static_cast<int64_t>(values.size()) != header.shape[0]) std::abort();
  } catch (const FormatError&) {
  }
  return 0;
}
