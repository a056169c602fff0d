#include "kernels/tensor/error.h"

#include <cerrno>
#include <cstring>

namespace panda {

std::string printable(const std::string& raw) {
  static const char* const kHex = "0123456789abcdef";
  std::string safe;
  safe.reserve(raw.size());
  for (const char c : raw) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      safe += "\\x";
      safe += kHex[byte >> 4];
      safe += kHex[byte & 15];
    } else {
      safe += c;
    }
  }
  return safe;
}

IoError::IoError(const std::string& path, const std::string& action, int error_number)
    : Error(text(path, ": cannot ", action, ": ", std::strerror(error_number))),
      error_number_(error_number) {}

bool IoError::exhausted() const {
  switch (error_number_) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EIO:
      return true;
    default:
      return false;
  }
}

namespace detail {

void throw_invalid_argument(const std::string& message) {
  throw InvalidArgument(message);
}

void throw_internal_error(const char* file, int line, const char* condition, const std::string& message) {
  throw InternalError(
      text("internal error at ", file, ":", line, ": ", condition, message.empty() ? "" : ": ", message));
}

}  // namespace detail
}  // namespace panda
