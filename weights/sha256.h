// SHA-256 (FIPS 180-4): the hash that manifests state and that proves a fitted model whole.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace panda::weights {

/// A hash of the bytes given to `update`, in order.
class Sha256 {
 public:
  Sha256();
  void update(const void* data, int64_t bytes);
  void update(const std::string& bytes) { update(bytes.data(), static_cast<int64_t>(bytes.size())); }
  /// 64 lower-case hexadecimal digits. Ends the hash: no update after it.
  [[nodiscard]] std::string hex();

 private:
  void compress(const uint8_t* block);

  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> block_{};
  uint64_t total_bytes_ = 0;
};

/// The hash of a whole file, read in pieces.
[[nodiscard]] std::string sha256_of_file(const std::string& path);

}  // namespace panda::weights
