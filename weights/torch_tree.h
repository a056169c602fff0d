// What a PyTorch checkpoint's pickle says about tensors: names, shapes, strides, and which storage holds
// their elements. Shared by the three containers (torch_checkpoint.cpp), which know where the storages lie.
//
// Source: torch/serialization.py, torch/_utils.py.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/tensor/dtype.h"
#include "kernels/tensor/shape.h"
#include "weights/pickle.h"

namespace panda::weights {

struct TorchStorage {
  std::string key;
  DType dtype = DType::kF32;
  int64_t numel = 0;    // as declared
  int64_t offset = -1;  // of its bytes in the file; the container fills it in
  int64_t member = -1;  // index in the zip archive
};

struct TorchTensor {
  std::string name;
  Shape shape;
  std::vector<int64_t> strides;  // in elements, >= 0
  int64_t storage_offset = 0;    // in elements
  size_t storage = 0;            // index into TorchContents::storages
};

struct TorchContents {
  std::vector<TorchStorage> storages;
  std::vector<TorchTensor> tensors;  // sorted by name
};

/// The globals that a checkpoint may name. Each is data to us: none is ever called.
[[nodiscard]] const std::vector<std::string>& torch_globals();

/// The dtype of a storage class such as "torch.FloatStorage" (or torch.cuda's); throws FormatError.
[[nodiscard]] DType torch_storage_dtype(const std::string& global, const std::string& source, int64_t offset);

/// Throws FormatError unless every element lies inside a storage of `storage_numel` elements and there are no
/// more of them than the storage has (an expanded tensor would ask for more memory than the file has bytes).
void check_inside_storage(const TorchTensor& tensor, int64_t storage_numel, const std::string& source);

/// Finds the tensors in the tree of a checkpoint. `tar_tensors`, for the legacy tar container only, are those
/// that persistent ids name, with `tar_storages` as their storages.
///
/// Names: the tensors of {"state_dict": {...}} (or "model_state_dict", "model", "net"), else of the whole
/// object; nested dicts and lists are joined by "."; "module." is dropped if all names begin with it. Values
/// that are no tensors (epochs, options) are passed over.
[[nodiscard]] TorchContents read_torch_tree(const ByteSource& source, const PickleTree& tree,
                                            int64_t pickle_bytes,
                                            const std::map<std::string, TorchTensor>* tar_tensors = nullptr,
                                            std::vector<TorchStorage> tar_storages = {});

}  // namespace panda::weights
