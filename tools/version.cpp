#include "tools/version.h"

#include <cstddef>
#include <cstdio>

#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

#include <nlohmann/json.hpp>

#include "kernels/tensor/text.h"

#define PANDA_STRINGIFY_ARGUMENT(argument) #argument
#define PANDA_STRINGIFY(macro) PANDA_STRINGIFY_ARGUMENT(macro)

namespace panda::tools {

std::string version() {
  return PANDA_VERSION;
}

std::string compiler() {
#if defined(__clang__)
  const std::string name = text("clang ", __clang_major__, ".", __clang_minor__, ".", __clang_patchlevel__);
#else
  const std::string name = text("g++ ", __GNUC__, ".", __GNUC_MINOR__, ".", __GNUC_PATCHLEVEL__);
#endif
#if defined(__x86_64__)
  return name + " x86_64";
#elif defined(__aarch64__)
  return name + " aarch64";
#else
  return name;
#endif
}

std::vector<std::pair<std::string, std::string>> libraries() {
  return {
    {"zlib", zlibVersion()}, {"libpng", png_get_libpng_ver(nullptr)},
#if defined(LIBJPEG_TURBO_VERSION)
        {"libjpeg-turbo", PANDA_STRINGIFY(LIBJPEG_TURBO_VERSION)},
#else
        {"libjpeg", PANDA_STRINGIFY(JPEG_LIB_VERSION)},
#endif
        {"nlohmann-json", text(NLOHMANN_JSON_VERSION_MAJOR, ".", NLOHMANN_JSON_VERSION_MINOR, ".",
                               NLOHMANN_JSON_VERSION_PATCH)},
  };
}

}  // namespace panda::tools
