#include "kernels/cuda/vendor/dynamic_library.h"

#include <dlfcn.h>

namespace panda::kernels::cuda::vendor {

DynamicLibrary::DynamicLibrary(const std::string& file) : file_(file) {
  handle_ = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ != nullptr) return;
  const char* reason = ::dlerror();
  const std::string why = reason == nullptr ? "unknown" : reason;
  // The loader says which file it could not find: this one, or one that this one needs.
  const bool absent = why.starts_with(file + ":") && why.find("No such file") != std::string::npos;
  if (absent) throw Unsupported(text(file, " is not on this machine"));
  throw Unsupported(text(file, " is broken: ", why));
}

void* DynamicLibrary::symbol(const char* name) const {
  void* address = ::dlsym(handle_, name);
  if (address == nullptr) throw Unsupported(text(file_, " is broken: it has no ", name));
  return address;
}

}  // namespace panda::kernels::cuda::vendor
