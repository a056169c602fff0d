#include "data/image_write.h"

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <new>

#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"

namespace panda::data {

namespace {

/// libpng's state; see image_png.cpp about longjmp and destructors.
struct Writer {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<uint8_t> bytes;
  char message[160] = "";

  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { png_destroy_write_struct(&png, &info); }
};

extern "C" {

void panda_png_write_stop(png_structp png, png_const_charp message) {
  auto* writer = static_cast<Writer*>(png_get_error_ptr(png));
  std::snprintf(writer->message, sizeof(writer->message), "%s", message);
  png_longjmp(png, 1);
}

void panda_png_append(png_structp png, png_bytep data, size_t bytes) {
  auto* writer = static_cast<Writer*>(png_get_io_ptr(png));
  bool appended = true;
  try {
    writer->bytes.insert(writer->bytes.end(), data, data + bytes);
  } catch (const std::bad_alloc&) {
    appended = false;  // an exception must not pass through libpng
  }
  if (!appended) png_error(png, "out of memory");
}

void panda_png_flush(png_structp /*png*/) {}

}  // extern "C"

struct Rows {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 1;
  int bit_depth = 8;
  const uint8_t* bytes = nullptr;  // most significant first
};

bool write_all(Writer& writer, const Rows& image) {
  constexpr int kColours[5] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                               PNG_COLOR_TYPE_RGBA};
  constexpr int kCompressionLevel = 6;
  if (setjmp(png_jmpbuf(writer.png)) != 0) return false;
  png_set_write_fn(writer.png, &writer, panda_png_append, panda_png_flush);
  png_set_user_limits(writer.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_compression_level(writer.png, kCompressionLevel);
  png_set_IHDR(writer.png, writer.info, static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height), image.bit_depth, kColours[image.channels],
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(writer.png, writer.info);
  const int64_t row_bytes = image.width * image.channels * (image.bit_depth / 8);
  for (int64_t y = 0; y < image.height; ++y) png_write_row(writer.png, image.bytes + y * row_bytes);
  png_write_end(writer.png, nullptr);
  return true;
}

std::vector<uint8_t> encoded(const Rows& image) {
  Writer writer;
  writer.png =
      png_create_write_struct(PNG_LIBPNG_VER_STRING, &writer, panda_png_write_stop, panda_png_write_stop);
  if (writer.png != nullptr) writer.info = png_create_info_struct(writer.png);
  if (writer.info == nullptr) throw OutOfMemory("no memory for the PNG encoder");
  if (!write_all(writer, image)) throw InternalError(text("encode_png: ", writer.message));
  return std::move(writer.bytes);
}

}  // namespace

std::vector<uint8_t> encode_png(const Image& image) {
  PANDA_CHECK(image.channels >= 1 && image.channels <= 4, "encode_png: ", image.channels,
              " channels, expected 1 to 4");
  PANDA_CHECK(image.height >= 1 && image.width >= 1 && image.height <= INT32_MAX && image.width <= INT32_MAX,
              "encode_png: ", image.width, " x ", image.height, " pixels, expected 1 to ", INT32_MAX,
              " along a side");
  PANDA_CHECK(static_cast<int64_t>(image.pixels.size()) == image.height * image.width * image.channels,
              "encode_png: ", image.pixels.size(), " samples for ", image.width, " x ", image.height, " x ",
              image.channels);
  return encoded({image.height, image.width, image.channels, 8, image.pixels.data()});
}

std::vector<uint8_t> encode_png16(std::span<const uint16_t> samples, int64_t height, int64_t width) {
  PANDA_CHECK(height >= 1 && width >= 1 && height <= INT32_MAX && width <= INT32_MAX &&
                  static_cast<int64_t>(samples.size()) == height * width,
              "encode_png16: ", samples.size(), " samples for ", width, " x ", height, " pixels");
  std::vector<uint8_t> bytes;
  bytes.reserve(samples.size() * 2);
  for (const uint16_t sample : samples) {
    bytes.push_back(static_cast<uint8_t>(sample >> 8));
    bytes.push_back(static_cast<uint8_t>(sample & 255));
  }
  return encoded({height, width, 1, 16, bytes.data()});
}

void write_bytes(const std::string& path, const std::vector<uint8_t>& bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), static_cast<int64_t>(bytes.size()));
  file.commit();
}

void write_png(const std::string& path, const Image& image) {
  write_bytes(path, encode_png(image));
}

}  // namespace panda::data
