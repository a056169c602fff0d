// The one EXIF field that changes a picture: its orientation. EXIF is a TIFF directory; only its first one is
// read, every access is bounds-checked, and a malformed block counts as none, because no pixel depends on it.
#include "data/image_codecs.h"

namespace panda::data::codec {

int exif_orientation(Bytes tiff) {
  constexpr uint32_t kOrientationTag = 0x0112;
  constexpr uint32_t kTypeShort = 3;
  constexpr size_t kEntryBytes = 12;
  if (tiff.size() < 8) return 1;
  const bool little = tiff[0] == 'I' && tiff[1] == 'I';
  if (!little && !(tiff[0] == 'M' && tiff[1] == 'M')) return 1;
  const auto u16 = [&](size_t at) { return little ? u16le(&tiff[at]) : u16be(&tiff[at]); };
  const auto u32 = [&](size_t at) { return little ? u32le(&tiff[at]) : u32be(&tiff[at]); };
  if (u16(2) != 42) return 1;
  const size_t directory = u32(4);
  if (directory > tiff.size() - 2) return 1;
  const size_t entries = u16(directory);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > tiff.size()) return 1;
    if (u16(entry) != kOrientationTag) continue;
    if (u16(entry + 2) != kTypeShort || u32(entry + 4) != 1) return 1;
    const uint32_t value = u16(entry + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace panda::data::codec
