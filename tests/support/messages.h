// What an error says.
#pragma once

#include <string>

#include "kernels/tensor/error.h"

namespace panda::test {

/// Of the InvalidArgument that `action` throws.
template <typename Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace panda::test
