// The EXIF orientation parser: any bytes give 1 to 8.
#include <cstdlib>

#include "data/image_codecs.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  const int orientation = panda::data::codec::exif_orientation({data, bytes});
  if (orientation < 1 || orientation > 8) std::abort();
  return 0;
}
