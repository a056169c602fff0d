// SHA-256 (FIPS 180-4): to say which weights, which data and which program a result came from.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace panda::weights {

class Sha256 {
 public:
  void update(const void* data, int64_t bytes);
  /// Ends the message; the 64 lower-case hex digits. The object is spent.
  [[nodiscard]] std::string hex_digest();

 private:
  void compress(const uint8_t* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> block_{};
  int64_t total_bytes_ = 0;
};

}  // namespace panda::weights
