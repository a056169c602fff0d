// The errors this engine throws, and the two checks that throw them.
//
// Each class is one answer to "what can the caller do about it"; the command maps them to exit codes
// (tools/exit_code.h). A message is one line: what is wrong, where, what was expected. It holds values and
// shapes.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/tensor/text.h"

namespace panda {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The caller's mistake: a shape, dtype, option or value that the function's contract excludes.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// A valid request that this device or build cannot serve; names device and kernel.
class Unsupported : public Error {
 public:
  using Error::Error;
};

/// A file or stream whose bytes break its format. The message ends with the byte offset where that was seen.
class FormatError : public Error {
 public:
  static constexpr int64_t kNoOffset = -1;
  /// `source` is the file's name as the user gave it ("" where the reader does not know it).
  FormatError(const std::string& source, const std::string& what, int64_t byte_offset = kNoOffset)
      : Error(text(source, source.empty() ? "" : ": ", what,
                   byte_offset == kNoOffset ? std::string() : text(" (byte ", byte_offset, ")"))),
        byte_offset_(byte_offset) {}
  [[nodiscard]] int64_t byte_offset() const { return byte_offset_; }

 private:
  int64_t byte_offset_;
};

/// The operating system refused a file operation. `exhausted` separates "no such file" (the user's) from a
/// full disk, too many open files or a failing medium (a resource).
class IoError : public Error {
 public:
  IoError(const std::string& path, const std::string& action, int error_number);
  [[nodiscard]] int error_number() const { return error_number_; }
  [[nodiscard]] bool exhausted() const;

 private:
  int error_number_;
};

/// A device failed; it may be unusable from here on.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// An allocation failed; names the label and MiB that were asked for.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

/// The user asked to stop. Thrown at a safe point: nothing is half-written.
class Interrupted : public Error {
 public:
  Interrupted() : Error("interrupted") {}
};

/// Our own mistake.
class InternalError : public Error {
 public:
  using Error::Error;
};

namespace detail {
[[noreturn]] void throw_invalid_argument(const std::string& message);
[[noreturn]] void throw_internal_error(const char* file, int line, const char* condition,
                                       const std::string& message);
}  // namespace detail

}  // namespace panda

/// The caller's mistake: throws InvalidArgument with the message made of the remaining arguments. Also on in
/// release.
#define PANDA_CHECK(condition, ...)                                                        \
  do {                                                                                     \
    if (!(condition)) ::panda::detail::throw_invalid_argument(::panda::text(__VA_ARGS__)); \
  } while (false)

/// Our own mistake: throws InternalError with file and line. Also on in release.
#define PANDA_INTERNAL_ASSERT(condition, ...)                                                            \
  do {                                                                                                   \
    if (!(condition))                                                                                    \
      ::panda::detail::throw_internal_error(__FILE__, __LINE__, #condition, ::panda::text(__VA_ARGS__)); \
  } while (false)
