#include "kernels/tensor/scratch_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "kernels/tensor/error.h"

namespace panda {

namespace {

// Linux transfers at most 0x7ffff000 bytes in one call.
constexpr int64_t kMaxTransfer = int64_t{1} << 30;

}  // namespace

ScratchFile::ScratchFile(const std::string& directory) : directory_(directory) {
  std::string pattern = directory + "/panda-scratch-XXXXXX";
  descriptor_ = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (descriptor_ < 0) throw IoError(printable(directory), "create a working file here", errno);
  ::unlink(pattern.c_str());
}

ScratchFile::~ScratchFile() {
  ::close(descriptor_);
}

int64_t ScratchFile::append(const void* data, int64_t bytes) {
  const int64_t begin = size_;
  const auto* in = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::pwrite(descriptor_, in, static_cast<size_t>(std::min(bytes, kMaxTransfer)), size_);
    if (put < 0) {
      if (errno == EINTR) continue;
      throw IoError(printable(directory_), "write a working file here", errno);
    }
    in += put;
    size_ += put;
    bytes -= put;
  }
  return begin;
}

void ScratchFile::read(int64_t offset, void* destination, int64_t bytes) const {
  PANDA_INTERNAL_ASSERT(offset >= 0 && bytes >= 0 && bytes <= size_ - offset, "scratch file of ", size_,
                        " bytes: ", bytes, " from ", offset);
  auto* out = static_cast<char*>(destination);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, out, static_cast<size_t>(std::min(bytes, kMaxTransfer)), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw IoError(printable(directory_), "read a working file here", got < 0 ? errno : EIO);
    out += got;
    offset += got;
    bytes -= got;
  }
}

}  // namespace panda
