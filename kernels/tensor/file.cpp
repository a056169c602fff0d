#include "kernels/tensor/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "kernels/tensor/error.h"

namespace panda {

namespace {

// Linux transfers at most 0x7ffff000 bytes in one call.
constexpr int64_t kMaxTransfer = int64_t{1} << 30;

std::string shown(const std::string& path) {
  return printable(path);
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

InputFile::InputFile(const std::string& path)
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) throw IoError(shown(path), "open", errno);
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) {
    const int error = errno;
    ::close(descriptor_);
    throw IoError(shown(path), "stat", error);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw InvalidArgument(text(shown(path), ": ",
                               S_ISDIR(status.st_mode) ? "is a directory" : "is not a regular file",
                               ", expected a file"));
  }
  size_ = status.st_size;
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(int64_t offset, void* destination, int64_t bytes) const {
  PANDA_INTERNAL_ASSERT(offset >= 0 && bytes >= 0, path_);
  auto* out = static_cast<char*>(destination);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, out, static_cast<size_t>(std::min(bytes, kMaxTransfer)), offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw IoError(shown(path_), "read", errno);
    }
    if (got == 0) throw FormatError(shown(path_), text("the file ends ", bytes, " bytes early"), offset);
    out += got;
    offset += got;
    bytes -= got;
  }
}

std::vector<uint8_t> read_file(const std::string& path, int64_t limit_bytes) {
  const InputFile file(path);
  PANDA_CHECK(file.size() <= limit_bytes, shown(path), ": has ", file.size(), " bytes, expected at most ",
              limit_bytes);
  std::vector<uint8_t> bytes(static_cast<size_t>(file.size()));
  file.read(0, bytes.data(), file.size());
  return bytes;
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  if (is_directory(path))
    throw InvalidArgument(text(shown(path), ": is a directory, expected a file to write"));
  std::string pattern = path + ".part-XXXXXX";
  descriptor_ = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (descriptor_ < 0) throw IoError(shown(path), "create", errno);
  temporary_path_ = pattern;
}

AtomicFile::~AtomicFile() {
  abandon();
}

void AtomicFile::abandon() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
  temporary_path_.clear();
}

void AtomicFile::write(const void* data, int64_t bytes) {
  const auto* in = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::write(descriptor_, in, static_cast<size_t>(std::min(bytes, kMaxTransfer)));
    if (put < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      abandon();
      throw IoError(shown(path_), "write", error);
    }
    in += put;
    bytes -= put;
    bytes_written_ += put;
  }
}

void AtomicFile::commit() {
  PANDA_INTERNAL_ASSERT(descriptor_ >= 0, "commit of a closed file ", path_);
  // mkostemp makes files private; give the new file the permissions any other would get.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  (void)::fchmod(descriptor_, 0666 & ~mask);
  // A failed fsync is final: the kernel may have dropped the pages, and a second call would "succeed".
  if (::fsync(descriptor_) != 0) {
    const int error = errno;
    abandon();
    throw IoError(shown(path_), "flush", error);
  }
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    const int error = errno;
    abandon();
    throw IoError(shown(path_), "close", error);
  }
  if (::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    abandon();
    throw IoError(shown(path_), "rename into place", error);
  }
  temporary_path_.clear();
  const std::string parent = parent_of(path_);
  const int directory = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0)
    return;  // a directory we may write but not read: the file stands, its name is flushed by the system
  const int failed = ::fsync(directory) != 0 ? errno : 0;
  ::close(directory);
  if (failed != 0 && failed != EINVAL) throw IoError(shown(parent), "flush", failed);
}

std::vector<std::string> list_directory(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) throw IoError(shown(path), "list", errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  const int error = errno;
  ::closedir(directory);
  if (error != 0) throw IoError(shown(path), "list", error);
  std::sort(names.begin(), names.end());
  return names;
}

bool is_directory(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool path_exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

void make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw IoError(shown(path), "make the directory", error.value());
  if (!is_directory(path)) throw IoError(shown(path), "make the directory", ENOTDIR);
}

std::string join_path(const std::string& directory, const std::string& name) {
  if (directory.empty()) return name;
  return directory.back() == '/' ? directory + name : directory + "/" + name;
}

std::string extension_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  const size_t dot = path.find_last_of('.');
  if (dot == std::string::npos || (slash != std::string::npos && dot < slash)) return "";
  std::string extension = path.substr(dot + 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  return extension;
}

}  // namespace panda
