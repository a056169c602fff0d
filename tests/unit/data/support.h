// What the tests of data/ share: hashes as the golden scripts write them, and images both sides can make.
#pragma once

#include <zlib.h>

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "data/image.h"
#include "kernels/tensor/file.h"

namespace panda::data::test {

using Hash = std::pair<uint32_t, uint32_t>;  // crc32, adler32

inline Hash hash_of(const void* data, size_t bytes) {
  const auto* begin = static_cast<const Bytef*>(data);
  return {static_cast<uint32_t>(::crc32_z(0, begin, bytes)),
          static_cast<uint32_t>(::adler32_z(1, begin, bytes))};
}
inline Hash hash_of(const Image& image) {
  return hash_of(image.pixels.data(), image.pixels.size());
}

inline std::string golden_path(const std::string& name) {
  return std::string(PANDA_SOURCE_DIR) + "/tests/golden/data/" + name;
}

/// The lines of a golden file that are no comments.
inline std::vector<std::string> golden_lines(const std::string& name) {
  std::ifstream file(golden_path(name));
  if (!file) throw std::runtime_error("no golden file " + golden_path(name));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') lines.push_back(line);
  }
  return lines;
}

inline uint64_t splitmix64(uint64_t counter) {
  uint64_t z = (counter + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// The image that tests/golden/make_resize_goldens.py calls (seed, kind): noise, or (kind 1) black and white.
inline Image made_image(uint64_t seed, int kind, int64_t channels, int64_t height, int64_t width) {
  Image image(height, width, channels);
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    const auto sample = static_cast<uint8_t>(splitmix64((seed << 32) + i) >> 56);
    image.pixels[i] = kind == 1 ? (sample < 128 ? 0 : 255) : sample;
  }
  return image;
}

}  // namespace panda::data::test
