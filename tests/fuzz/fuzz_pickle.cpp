// The pickle reader and the search for tensors in its tree on arbitrary bytes.
#include "tests/fuzz/fuzz_tools.h"
#include "weights/pickle.h"
#include "weights/torch_tree.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return panda::fuzz::expect_errors_only([&] {
    using namespace panda::weights;
    const ByteSourcePtr source = panda::fuzz::source_of(data, size);
    const PickleTree tree = parse_pickle(*source, 0, source->size(), torch_globals());
    for (const TorchTensor& tensor : read_torch_tree(*source, tree, tree.end).tensors) {
      if (tensor.strides.size() != static_cast<size_t>(tensor.shape.rank())) std::abort();
    }
  });
}
