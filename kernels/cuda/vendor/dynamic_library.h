// A shared library that is looked for at run time, so that one binary serves machines with and without it.
#pragma once

#include <memory>
#include <string>

#include "kernels/tensor/error.h"

namespace panda::kernels::cuda::vendor {

class DynamicLibrary {
 public:
  /// `file`: a name for the loader's search ("libcudnn.so.9") or a path. Throws Unsupported with one line:
  /// the library is not there, or is there and cannot be used, and why.
  explicit DynamicLibrary(const std::string& file);
  DynamicLibrary(const DynamicLibrary&) = delete;
  DynamicLibrary& operator=(const DynamicLibrary&) = delete;
  /// The library stays loaded: such libraries leave threads and exit handlers behind.
  ~DynamicLibrary() = default;

  /// The function of this name; throws Unsupported if the library has none.
  template <typename Function>
  [[nodiscard]] Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  [[nodiscard]] void* symbol(const char* name) const;

  std::string file_;
  void* handle_ = nullptr;
};

}  // namespace panda::kernels::cuda::vendor
