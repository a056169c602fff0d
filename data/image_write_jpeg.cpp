// JPEG by libjpeg-turbo, for pictures that are looked at and not measured.
#include <cstdio>
// jpeglib.h needs size_t and FILE before it.
#include <jpeglib.h>

#include <csetjmp>
#include <cstdlib>

#include "data/image_write.h"
#include "kernels/tensor/error.h"

namespace panda::data {

namespace {

/// libjpeg's state; see image_jpeg.cpp about longjmp and destructors.
struct JpegWriter {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  std::jmp_buf jump{};
  char message[JMSG_LENGTH_MAX] = "";
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // libjpeg's type

  JpegWriter() = default;
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;
  ~JpegWriter() {
    jpeg_destroy_compress(&jpeg);
    std::free(bytes);
  }
};

extern "C" {

void panda_jpeg_write_stop(j_common_ptr jpeg) {
  auto* writer = static_cast<JpegWriter*>(jpeg->client_data);
  jpeg->err->format_message(jpeg, writer->message);
  std::longjmp(writer->jump, 1);
}

}  // extern "C"

bool compress(JpegWriter& writer, const Image& image, int quality) {
  writer.jpeg.err = jpeg_std_error(&writer.errors);
  writer.errors.error_exit = panda_jpeg_write_stop;
  writer.jpeg.client_data = &writer;
  if (setjmp(writer.jump) != 0) return false;
  jpeg_create_compress(&writer.jpeg);
  jpeg_mem_dest(&writer.jpeg, &writer.bytes, &writer.size);
  writer.jpeg.image_width = static_cast<JDIMENSION>(image.width);
  writer.jpeg.image_height = static_cast<JDIMENSION>(image.height);
  writer.jpeg.input_components = static_cast<int>(image.channels);
  writer.jpeg.in_color_space = image.channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
  jpeg_set_defaults(&writer.jpeg);
  jpeg_set_quality(&writer.jpeg, quality, TRUE);
  jpeg_start_compress(&writer.jpeg, TRUE);
  while (writer.jpeg.next_scanline < writer.jpeg.image_height) {
    auto* row = const_cast<JSAMPROW>(image.row(static_cast<int64_t>(writer.jpeg.next_scanline)));
    jpeg_write_scanlines(&writer.jpeg, &row, 1);
  }
  jpeg_finish_compress(&writer.jpeg);
  return true;
}

}  // namespace

std::vector<uint8_t> encode_jpeg(const Image& image, int quality) {
  constexpr int64_t kLargest = 65500;  // JPEG_MAX_DIMENSION
  PANDA_CHECK((image.channels == 1 || image.channels == 3) && image.height >= 1 && image.width >= 1 &&
                  image.height <= kLargest && image.width <= kLargest && quality >= 1 && quality <= 100,
              "encode_jpeg: ", image.width, " x ", image.height, " x ", image.channels, " at quality ",
              quality, ", expected 1 or 3 channels, up to ", kLargest, " along a side, quality 1 to 100");
  JpegWriter writer;
  if (!compress(writer, image, quality)) throw InternalError(text("encode_jpeg: ", writer.message));
  return {writer.bytes, writer.bytes + writer.size};
}

}  // namespace panda::data
