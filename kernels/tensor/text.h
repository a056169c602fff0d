// Joining values into a message. g++ 12 has no <format> header, and messages need no more than this.
#pragma once

#include <sstream>
#include <string>

namespace panda {

/// The values written one after another, as `operator<<` writes them.
template <typename... Values>
[[nodiscard]] std::string text(const Values&... values) {
  std::ostringstream out;
  (out << ... << values);
  return out.str();
}

/// `raw` for a terminal: control characters (C0, C1, bidirectional marks; a hostile file name, say) and bytes that are no UTF-8 are
/// written as \xNN. What is printable already stays as it is.
[[nodiscard]] std::string printable(const std::string& raw);

}  // namespace panda
