// JPEG pixels by libjpeg-turbo with its default (and Pillow's) settings: the accurate integer inverse DCT and
// smooth chroma upsampling. Behind our pre-pass (jpeg_prepass.h); what libjpeg reports as corrupt data is an
// error.
#include <cstdio>
// jpeglib.h needs size_t and FILE before it.
#include <jpeglib.h>

#include <jerror.h>

#include <algorithm>
#include <csetjmp>
#include <string>

#include "data/image_codecs.h"
#include "data/jpeg_prepass.h"

namespace panda::data::codec {

namespace {

/// libjpeg's state. Its errors leave by longjmp, so the functions between setjmp and libjpeg hold nothing
/// that has a destructor, and the exception is thrown after they returned.
struct Reader {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  std::jmp_buf jump{};
  char message[JMSG_LENGTH_MAX] = "";
  bool out_of_memory = false;

  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { jpeg_destroy_decompress(&jpeg); }
};

extern "C" {

void panda_jpeg_stop(j_common_ptr jpeg) {
  auto* reader = static_cast<Reader*>(jpeg->client_data);
  reader->out_of_memory = jpeg->err->msg_code == JERR_OUT_OF_MEMORY;
  jpeg->err->format_message(jpeg, reader->message);
  std::longjmp(reader->jump, 1);
}

void panda_jpeg_message(j_common_ptr jpeg, int level) {
  // Level -1 is "corrupt data"; an unknown minor JFIF version is reported so too, and harms nothing.
  if (level < 0 && jpeg->err->msg_code != JWRN_JFIF_MAJOR) panda_jpeg_stop(jpeg);
}

}  // extern "C"

bool start(Reader& reader, Bytes file) {
  reader.jpeg.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = panda_jpeg_stop;
  reader.errors.emit_message = panda_jpeg_message;
  reader.jpeg.client_data = &reader;
  if (setjmp(reader.jump) != 0) return false;
  jpeg_create_decompress(&reader.jpeg);
  jpeg_mem_src(&reader.jpeg, file.data(), file.size());
  jpeg_read_header(&reader.jpeg, TRUE);
  if (reader.jpeg.num_components == 1) {
    reader.jpeg.out_color_space = JCS_GRAYSCALE;
  } else {
    reader.jpeg.out_color_space = reader.jpeg.num_components == 4 ? JCS_CMYK : JCS_RGB;
  }
  reader.jpeg.dct_method = JDCT_ISLOW;
  reader.jpeg.do_fancy_upsampling = TRUE;
  jpeg_start_decompress(&reader.jpeg);
  return true;
}

bool read_pixels(Reader& reader, uint8_t* pixels, int64_t row_bytes) {
  if (setjmp(reader.jump) != 0) return false;
  while (reader.jpeg.output_scanline < reader.jpeg.output_height) {
    JSAMPROW row = pixels + reader.jpeg.output_scanline * row_bytes;
    jpeg_read_scanlines(&reader.jpeg, &row, 1);
  }
  jpeg_finish_decompress(&reader.jpeg);
  return true;
}

[[noreturn]] void fail(const Reader& reader, const std::string& source) {
  if (reader.out_of_memory) throw OutOfMemory(text(source, ": no memory for the JPEG decoder"));
  throw FormatError(source, text("damaged JPEG: ", reader.message));
}

/// CMYK as four-component JPEG files store it (inverted, Adobe's convention, which Pillow too assumes) to
/// RGB.
Image rgb_from_inverted_cmyk(const Image& cmyk) {
  Image rgb(cmyk.height, cmyk.width, 3);
  const uint8_t* in = cmyk.pixels.data();
  for (size_t i = 0; i < rgb.pixels.size(); i += 3, in += 4) {
    const int white = in[3];  // 255 - K
    for (size_t c = 0; c < 3; ++c) {
      const int ink = 255 - in[c];
      const int absorbed = (2 * ink * white + 255) / 510;  // round(ink * white / 255); no ties, 255 is odd
      rgb.pixels[i + c] = static_cast<uint8_t>(white - absorbed);
    }
  }
  return rgb;
}

}  // namespace

Decoded decode_jpeg(Bytes file, const std::string& source, const DecodeOptions& options) {
  const JpegLayout layout = check_jpeg(file, source, options);
  Reader reader;
  if (!start(reader, file)) fail(reader, source);
  PANDA_INTERNAL_ASSERT(
      reader.jpeg.output_width == layout.width && reader.jpeg.output_height == layout.height, source);
  const int64_t channels = reader.jpeg.output_components;
  PANDA_INTERNAL_ASSERT(channels == layout.components, source, ": ", channels, " channels");

  Decoded decoded{Image(layout.height, layout.width, channels), layout.orientation};
  if (!read_pixels(reader, decoded.image.pixels.data(), layout.width * channels)) fail(reader, source);
  if (channels == 4) decoded.image = rgb_from_inverted_cmyk(decoded.image);
  return decoded;
}

}  // namespace panda::data::codec
