// IDX files: two bytes say how many of the rest are the images file; what remains is the labels file. An
// error or a readable set.
#include "data/dataset_parts.h"
#include "kernels/tensor/error.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace panda;
  if (bytes < 2) return 0;
  const size_t wanted = static_cast<size_t>(data[0]) << 8 | data[1];
  data += 2;
  bytes -= 2;
  const size_t image_bytes = wanted < bytes ? wanted : bytes;
  const fuzz::MemoryFile images(data, image_bytes);
  const fuzz::MemoryFile labels(data + image_bytes, bytes - image_bytes);
  try {
    data::parts::ImageArray array = data::parts::read_idx(images.path(), labels.path(), 10);
    const std::vector<std::string> names(10, "x");
    std::vector<data::parts::ImageArray> arrays;
    arrays.push_back(std::move(array));
    const auto set = data::parts::make_array_set(std::move(arrays), -1, 0, names);
    for (int64_t i = 0; i < set->size() && i < 4; ++i) (void)set->load(i);
    if (set->size() > 0) (void)set->load(set->size() - 1);
  } catch (const FormatError&) {
  }
  return 0;
}
