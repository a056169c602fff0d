// Working space on disk: a file without a name, for what does not fit in memory.
#pragma once

#include <cstdint>
#include <string>

namespace panda {

/// The name is removed as soon as the file is open, so that nothing is left however the process ends.
class ScratchFile {
 public:
  /// In `directory`, which must exist. Throws IoError naming it.
  explicit ScratchFile(const std::string& directory);
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile();

  /// Bytes written so far.
  [[nodiscard]] int64_t size() const { return size_; }
  /// Writes at the end; returns the offset of the first byte. Throws IoError (exhausted for a full disk).
  int64_t append(const void* data, int64_t bytes);
  /// Exactly `bytes` bytes from `offset`. Safe from several threads. Throws IoError, and InternalError beyond
  /// the end.
  void read(int64_t offset, void* destination, int64_t bytes) const;

 private:
  std::string directory_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

}  // namespace panda
