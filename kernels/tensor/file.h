// Files: read by position, written beside their place and renamed. Every reader and writer of the engine goes
// through here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace panda {

/// A regular file open for reading. Never memory-mapped: a file that changes while it is read gives wrong
/// bytes or an error, not a signal.
class InputFile {
 public:
  /// Throws IoError; InvalidArgument for what is no regular file (a directory, a FIFO, a device).
  explicit InputFile(const std::string& path);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  InputFile(InputFile&& other) noexcept;
  ~InputFile();

  [[nodiscard]] const std::string& path() const { return path_; }
  /// Bytes, as of opening.
  [[nodiscard]] int64_t size() const { return size_; }
  /// Exactly `bytes` bytes from `offset`. Throws FormatError at the file's end, IoError on failure.
  void read(int64_t offset, void* destination, int64_t bytes) const;

 private:
  std::string path_;
  int descriptor_;
  int64_t size_ = 0;
};

/// The whole file. Throws InvalidArgument if it is larger than `limit_bytes`.
[[nodiscard]] std::vector<uint8_t> read_file(const std::string& path, int64_t limit_bytes = INT64_MAX);

/// A file that appears whole or not at all: written under a temporary name in the same directory; `commit`
/// flushes it to disk, renames it onto `path` and flushes the directory. Without commit nothing is left.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(const void* data, int64_t bytes);
  void write(const std::string& bytes) { write(bytes.data(), static_cast<int64_t>(bytes.size())); }
  [[nodiscard]] int64_t bytes_written() const { return bytes_written_; }
  void commit();

 private:
  void abandon() noexcept;

  std::string path_;
  std::string temporary_path_;
  int descriptor_ = -1;
  int64_t bytes_written_ = 0;
};

/// Names in a directory ("." and ".." left out), sorted by byte value, so that every run sees the same order.
/// Throws IoError.
[[nodiscard]] std::vector<std::string> list_directory(const std::string& path);
[[nodiscard]] bool is_directory(const std::string& path);
[[nodiscard]] bool path_exists(const std::string& path);
/// Makes the directory and its parents; throws IoError.
void make_directories(const std::string& path);
/// `directory`/`name`, with one slash between.
[[nodiscard]] std::string join_path(const std::string& directory, const std::string& name);
/// The extension in lower case, without the dot; "" if there is none.
[[nodiscard]] std::string extension_of(const std::string& path);

}  // namespace panda
