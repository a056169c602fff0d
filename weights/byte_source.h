// Bytes that a reader takes by position: a file, or a buffer (embedded weights, tests, fuzzing).
//
// Every parser of this room reads through a ByteSource, and asks for memory only after it has seen that the
// source holds the bytes to fill it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/tensor/file.h"

namespace panda::weights {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  [[nodiscard]] virtual int64_t size() const = 0;
  /// Exactly `bytes` bytes from `offset`; throws FormatError if the source ends before. Safe from several
  /// threads.
  virtual void read(int64_t offset, void* destination, int64_t bytes) const = 0;
  /// For messages, fit for a terminal.
  [[nodiscard]] virtual const std::string& name() const = 0;

  /// `bytes` bytes from `offset`, after the check that the source has them.
  [[nodiscard]] std::vector<uint8_t> bytes(int64_t offset, int64_t count) const;
};

using ByteSourcePtr = std::shared_ptr<const ByteSource>;

/// A regular file, read by pread, never mapped. Throws as InputFile does.
[[nodiscard]] ByteSourcePtr file_source(const std::string& path);
/// Owned bytes.
[[nodiscard]] ByteSourcePtr buffer_source(std::vector<uint8_t> bytes, const std::string& name);
/// Bytes of the caller's, which must outlive the source.
[[nodiscard]] ByteSourcePtr borrowed_source(const void* data, int64_t size, const std::string& name);

/// Little- and big-endian integers at `bytes`.
[[nodiscard]] uint16_t load_le16(const uint8_t* bytes);
[[nodiscard]] uint32_t load_le32(const uint8_t* bytes);
[[nodiscard]] uint64_t load_le64(const uint8_t* bytes);
void store_le64(uint64_t value, uint8_t* bytes);

}  // namespace panda::weights
