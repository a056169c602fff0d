// What the fuzz targets of readers share.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "kernels/tensor/error.h"
#include "kernels/tensor/named_tensors.h"
#include "weights/byte_source.h"

namespace panda::fuzz {

inline weights::ByteSourcePtr source_of(const uint8_t* data, size_t size) {
  return weights::borrowed_source(data, static_cast<int64_t>(size), "input");
}

/// Loads each tensor; what is listed and what is loaded must agree.
inline void load_everything(const NamedTensors& tensors) {
  for (const TensorInfo& info : tensors.list()) {
    if (!tensors.contains(info.name)) std::abort();
    const Tensor tensor = tensors.load(info.name);
    if (!(tensor.shape() == info.shape) || tensor.dtype() != info.dtype) std::abort();
  }
}

/// Bad input ends in an Error that is not our own mistake; anything else is a finding.
template <typename Action>
int expect_errors_only(Action&& action) {
  try {
    action();
  } catch (const InternalError&) {
    std::abort();
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace panda::fuzz
