#include "kernels/tensor/error.h"

#include <cerrno>
#include <cstring>

namespace panda {

namespace {

// Bytes of the well-formed UTF-8 character at `at` (RFC 3629: no overlong forms, no surrogates), or 0.
size_t utf8_length(const std::string& bytes, size_t at) {
  const auto byte = [&](size_t i) { return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u; };
  const auto follows = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(at);
  const unsigned second = byte(at + 1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool valid = !(first == 0xE0 && second < 0xA0) && !(first == 0xED && second > 0x9F);
    return valid && follows(at + 1) && follows(at + 2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool valid = !(first == 0xF0 && second < 0x90) && !(first == 0xF4 && second > 0x8F);
    return valid && follows(at + 1) && follows(at + 2) && follows(at + 3) ? 4 : 0;
  }
  return 0;
}

// Characters that steer a terminal or turn the reading direction: C0, DEL, C1, line and paragraph separators,
// bidirectional marks.
bool steers_terminal(const std::string& bytes, size_t at, size_t length) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[at + i]); };
  if (length == 1) return byte(0) < 0x20 || byte(0) == 0x7f;
  if (length == 2) return (byte(0) == 0xC2 && byte(1) < 0xA0) || (byte(0) == 0xD8 && byte(1) == 0x9C);
  if (length == 3 && byte(0) == 0xE2) {
    return (byte(1) == 0x80 &&
            ((byte(2) >= 0x8E && byte(2) <= 0x8F) || (byte(2) >= 0xA8 && byte(2) <= 0xAE))) ||
           (byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9);
  }
  return false;
}

}  // namespace

std::string printable(const std::string& raw) {
  static const char* const kHex = "0123456789abcdef";
  std::string safe;
  safe.reserve(raw.size());
  for (size_t at = 0; at < raw.size();) {
    const size_t length = utf8_length(raw, at);
    if (length > 0 && !steers_terminal(raw, at, length)) {
      safe.append(raw, at, length);
      at += length;
      continue;
    }
    for (const size_t end = at + (length == 0 ? 1 : length); at < end; ++at) {
      const auto byte = static_cast<unsigned char>(raw[at]);
      safe += "\\x";
      safe += kHex[byte >> 4];
      safe += kHex[byte & 15];
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
