// A file in memory with a path, so that a reader that takes paths can be fuzzed without a disk.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

namespace panda::fuzz {

class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t bytes) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0) std::abort();
    while (bytes > 0) {
      const ssize_t put = ::write(descriptor_, data, bytes);
      if (put <= 0) std::abort();
      data += put;
      bytes -= static_cast<size_t>(put);
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace panda::fuzz
