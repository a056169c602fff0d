// NumPy's .npy (format 1, 2 and 3) and .npz files.
//
// Read: f8 f4 f2 i8 i4 i2 i1 u1 b1 in either byte order, in C or Fortran order; u2 becomes i32 and u4 becomes
// i64 (no value changes). Refused: u8, complex, text, dates, structured types, and objects, which would be a
// pickle. The data must fill the file exactly. An array in Fortran order is held twice while it is turned.
// Written: format 1, little-endian, C order, data aligned to 64 bytes: the bytes that numpy.save writes.
// There is no bf16 in NumPy.
//
// Source: numpy/lib/format.py's description ("NEP 1").
#pragma once

#include <memory>
#include <string>

#include "kernels/tensor/named_tensors.h"
#include "weights/byte_source.h"

namespace panda::weights {

/// Throws IoError, FormatError, Unsupported.
[[nodiscard]] Tensor read_npy(const std::string& path);
[[nodiscard]] Tensor read_npy(const ByteSourcePtr& source);
/// dtype (as it will be read) and shape, without the elements.
[[nodiscard]] TensorInfo npy_info(const ByteSourcePtr& source);

/// Where the elements lie. `as_stored`: they are those of a dense tensor (little-endian, C order, no type
/// widened), so that a part of them can be read alone.
struct NpyLayout {
  TensorInfo info;
  int64_t data_offset = 0;
  bool as_stored = false;
};
[[nodiscard]] NpyLayout npy_layout(const ByteSourcePtr& source);

/// An .npy that is written by parts and appears whole when it is committed, or not at all.
class NpyWriter {
 public:
  /// Throws Unsupported for bf16.
  NpyWriter(const std::string& path, DType dtype, const Shape& shape);
  /// The elements that come next: dense, of the array's dtype, on any device.
  void append(const ConstTensorView& part);
  /// InternalError unless every element is there.
  void commit();

 private:
  DType dtype_;
  int64_t elements_left_;
  AtomicFile file_;
};

/// A dense tensor on any device, written atomically. Throws Unsupported for bf16.
void write_npy(const std::string& path, const ConstTensorView& tensor);

/// The arrays of an .npz (stored or deflated members), by name without ".npy". Each is read when asked for.
[[nodiscard]] std::unique_ptr<NamedTensors> open_npz(const std::string& path);
[[nodiscard]] std::unique_ptr<NamedTensors> open_npz(ByteSourcePtr source);

}  // namespace panda::weights
