// The integrity pre-pass of JPEG: walks every marker segment and scan to the end marker. Private to data/.
#pragma once

#include <string>

#include "data/image_codecs.h"

namespace panda::data::codec {

struct JpegLayout {
  int64_t width = 0;
  int64_t height = 0;
  int components = 0;
  int64_t scan_bytes = 0;
  int orientation = 1;
};

/// Throws FormatError naming the first thing wrong. Bytes after EOI are ignored (cameras append previews
/// there).
[[nodiscard]] JpegLayout check_jpeg(Bytes file, const std::string& source, const DecodeOptions& options);

}  // namespace panda::data::codec
