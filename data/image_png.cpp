// PNG pixels by libpng, behind our pre-pass (png_prepass.h): libpng sees the chunks that make the picture and
// no others, and what it would only warn about is an error.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "data/image_codecs.h"
#include "data/png_prepass.h"

namespace panda::data::codec {

namespace {

/// libpng's state. libpng reports an error by longjmp, so the functions between setjmp and libpng hold
/// nothing that has a destructor, and the exception is thrown after they returned.
struct Reader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const std::vector<Bytes>* parts = nullptr;
  size_t part = 0;
  size_t offset = 0;
  int64_t row_bytes = 0;
  char message[160] = "";

  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

extern "C" {

void panda_png_stop(png_structp png, png_const_charp message) {
  auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
  std::snprintf(reader->message, sizeof(reader->message), "%s", message);
  png_longjmp(png, 1);
}

void panda_png_read(png_structp png, png_bytep out, size_t bytes) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  while (bytes > 0) {
    if (reader->part == reader->parts->size()) png_error(png, "read past the last chunk");
    const Bytes& part = (*reader->parts)[reader->part];
    const size_t count = std::min(bytes, part.size() - reader->offset);
    std::memcpy(out, part.data() + reader->offset, count);
    out += count;
    bytes -= count;
    reader->offset += count;
    if (reader->offset == part.size()) {
      ++reader->part;
      reader->offset = 0;
    }
  }
}

}  // extern "C"

bool read_header(Reader& reader) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_set_read_fn(reader.png, &reader, panda_png_read);
  // The pre-pass has compared every checksum already, and has bounded the size by the caller's limits.
  png_set_crc_action(reader.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_read_info(reader.png, reader.info);
  png_set_expand(reader.png);    // palettes, 1, 2 and 4 bits, tRNS
  png_set_scale_16(reader.png);  // round(v / 257)
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  reader.row_bytes = static_cast<int64_t>(png_get_rowbytes(reader.png, reader.info));
  return true;
}

bool read_pixels(Reader& reader, png_bytepp rows) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_read_image(reader.png, rows);
  png_read_end(reader.png, nullptr);  // also compares the checksum of the decompressed bytes
  return true;
}

}  // namespace

Decoded decode_png(Bytes file, const std::string& source, const DecodeOptions& options) {
  const PngLayout layout = check_png(file, source, options);
  Reader reader;
  reader.parts = &layout.picture;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, panda_png_stop, panda_png_stop);
  if (reader.png != nullptr) reader.info = png_create_info_struct(reader.png);
  if (reader.info == nullptr) throw OutOfMemory(text(source, ": no memory for the PNG decoder"));
  if (!read_header(reader)) throw FormatError(source, text("damaged PNG: ", reader.message));

  Decoded decoded{Image(layout.height, layout.width, layout.channels()), layout.orientation};
  PANDA_INTERNAL_ASSERT(reader.row_bytes == layout.width * layout.channels(), source, ": row of ",
                        reader.row_bytes);
  std::vector<png_bytep> rows(static_cast<size_t>(layout.height));
  for (int64_t y = 0; y < layout.height; ++y) rows[static_cast<size_t>(y)] = decoded.image.row(y);
  if (!read_pixels(reader, rows.data())) throw FormatError(source, text("damaged PNG: ", reader.message));
  return decoded;
}

}  // namespace panda::data::codec
