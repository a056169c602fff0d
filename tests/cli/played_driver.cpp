// A driver library that is not one: it answers what a test tells it to, through two variables of the environment.
// Enough for the CUDA runtime to find a driver that is too old, has no GPU, or fails.
#include <cstdlib>

namespace {
int number(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}
}  // namespace

extern "C" {
int cuInit(unsigned) {
  return number("PLAYED_DRIVER_INIT", 0);
}
int cuDriverGetVersion(int* version) {
  *version = number("PLAYED_DRIVER_VERSION", 13000);
  return 0;
}
}
