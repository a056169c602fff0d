#include "data/image_decode.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "data/image_codecs.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/file.h"

namespace panda::data {

namespace {

using codec::Bytes;

// Larger than any file within the pixel limit needs (178,956,970 pixels of 8 bytes); keeps a sparse file from
// asking for its size.
constexpr int64_t kMaxFileBytes = int64_t{2} << 30;
constexpr size_t kHeadBytes = 512;

bool starts_with(Bytes bytes, std::string_view prefix, size_t offset = 0) {
  return bytes.size() >= offset + prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                    [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
}

enum class Format { kPng, kJpeg, kBmp, kPnm, kOther };

Format format_of(Bytes head) {
  // Three bytes of a PNG's signature suffice to say what the file wants to be; the decoder checks all eight.
  if (starts_with(head, "\x89PN")) return Format::kPng;
  if (starts_with(head, "\xff\xd8")) return Format::kJpeg;
  if (starts_with(head, "BM")) return Format::kBmp;
  if (head.size() >= 2 && head[0] == 'P' && head[1] >= '1' && head[1] <= '7') return Format::kPnm;
  return Format::kOther;
}

bool is_text(Bytes head) {
  return std::all_of(head.begin(), head.end(), [](uint8_t b) {
    return b == '\t' || b == '\n' || b == '\r' || (b >= 0x20 && b != 0x7f);
  });
}

struct Magic {
  std::string_view bytes;
  size_t offset;
  const char* name;
};

using namespace std::string_view_literals;
constexpr std::array kImpostors = {
    Magic{"version https://git-lfs"sv, 0, "a git-lfs pointer (the file itself was not fetched)"},
    Magic{"GIF8"sv, 0, "a GIF image"},
    Magic{"WEBP"sv, 8, "a WebP image"},
    Magic{"II*\0"sv, 0, "a TIFF image"},
    Magic{"MM\0*"sv, 0, "a TIFF image"},
    Magic{"II+\0"sv, 0, "a BigTIFF image"},
    Magic{"ftypavi"sv, 4, "an AVIF image"},
    Magic{"ftyphei"sv, 4, "a HEIF image"},
    Magic{"ftypmif1"sv, 4, "a HEIF image"},
    Magic{"\0\0\0\x0cjP"sv, 0, "a JPEG 2000 image"},
    Magic{"\xff\x4f\xff\x51"sv, 0, "a JPEG 2000 stream"},
    Magic{"\xff\x0a"sv, 0, "a JPEG XL image"},
    Magic{"8BPS"sv, 0, "a Photoshop file"},
    Magic{"qoif"sv, 0, "a QOI image"},
    Magic{"DICM"sv, 128, "a DICOM file"},
    Magic{"%PDF"sv, 0, "a PDF file"},
    Magic{"%!PS"sv, 0, "a PostScript file"},
    Magic{"PK\x03\x04"sv, 0, "a zip archive"},
    Magic{"\x1f\x8b"sv, 0, "a gzip file"},
    Magic{"\x93NUMPY"sv, 0, "a NumPy array"},
    Magic{"\x7f"
          "ELF"sv,
          0, "a program"},
    Magic{"\x89HDF"sv, 0, "an HDF5 file"},
};

std::string lower_text(Bytes head) {
  std::string out;
  for (const uint8_t b : head) {
    const char c = static_cast<char>(b);
    if (out.empty() &&
        (c == ' ' || c == '\n' || c == '\r' || c == '\t' || b == 0xef || b == 0xbb || b == 0xbf))
      continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return out;
}

/// What a file that is none of our formats seems to be.
std::string described(Bytes head) {
  for (const Magic& magic : kImpostors) {
    if (starts_with(head, magic.bytes, magic.offset)) return magic.name;
  }
  const std::string words = lower_text(head);
  if (words.starts_with("<!doctype html") || words.starts_with("<html")) return "an HTML page";
  if (words.find("<svg") != std::string::npos) return "an SVG drawing";
  if (words.starts_with("<?xml")) return "an XML file";
  if (std::all_of(head.begin(), head.end(), [](uint8_t b) { return b == 0; })) return "a file of zero bytes";
  if (is_text(head)) return "a text file";
  return "no image of a known format";
}

[[noreturn]] void refuse_format(Bytes head, const std::string& source) {
  throw FormatError(source, text("is ", described(head), ", expected a PNG, JPEG, BMP or PNM image"), 0);
}

Bytes head_of(Bytes file) {
  return file.first(std::min(file.size(), kHeadBytes));
}

Image decode_named(Bytes file, const std::string& source, const DecodeOptions& options) {
  if (file.empty()) throw FormatError(source, "is empty, expected a PNG, JPEG, BMP or PNM image", 0);
  codec::Decoded decoded;
  switch (format_of(file)) {
    case Format::kPng:
      decoded = codec::decode_png(file, source, options);
      break;
    case Format::kJpeg:
      decoded = codec::decode_jpeg(file, source, options);
      break;
    case Format::kBmp:
      decoded = codec::decode_bmp(file, source, options);
      break;
    case Format::kPnm:
      decoded = codec::decode_pnm(file, source, options);
      break;
    case Format::kOther:
      refuse_format(head_of(file), source);
  }
  if (!options.apply_orientation) return std::move(decoded.image);
  return oriented(std::move(decoded.image), decoded.orientation);
}

}  // namespace

namespace codec {

void check_extent(int64_t width, int64_t height, const std::string& source, const DecodeOptions& options,
                  int64_t byte_offset) {
  if (width < 1 || height < 1) {
    throw FormatError(source,
                      text("the image has ", width, " x ", height, " pixels, expected at least 1 x 1"),
                      byte_offset);
  }
  if (width > options.max_dimension || height > options.max_dimension ||
      width > options.max_pixels / height) {
    throw FormatError(source,
                      text("the image has ", width, " x ", height, " pixels, expected at most ",
                           options.max_pixels, " in all and ", options.max_dimension, " along a side"),
                      byte_offset);
  }
}

void check_expansion(int64_t needed, int64_t available, int64_t expansion, const std::string& source) {
  if (needed > checked_mul(available, expansion)) {
    throw FormatError(source, text("the header claims ", needed, " bytes of samples, but ", available,
                                   " bytes of image data hold at most ", available * expansion));
  }
}

}  // namespace codec

Image decode_image(std::span<const uint8_t> bytes, const std::string& source, const DecodeOptions& options) {
  return decode_named(bytes, printable(source), options);
}

Image load_image(const std::string& path, const DecodeOptions& options) {
  const InputFile file(path);
  const std::string source = printable(path);
  // The head decides before the whole file is read: a wrong file may be huge.
  std::vector<uint8_t> bytes(std::min(static_cast<size_t>(file.size()), kHeadBytes));
  file.read(0, bytes.data(), static_cast<int64_t>(bytes.size()));
  if (!bytes.empty() && format_of(bytes) == Format::kOther) refuse_format(bytes, source);
  if (file.size() > kMaxFileBytes) {
    throw FormatError(source,
                      text("has ", file.size(), " bytes, expected an image file of at most ", kMaxFileBytes));
  }
  const size_t head_bytes = bytes.size();
  bytes.resize(static_cast<size_t>(file.size()));
  file.read(static_cast<int64_t>(head_bytes), bytes.data() + head_bytes,
            static_cast<int64_t>(bytes.size() - head_bytes));
  return decode_named(bytes, source, options);
}

Image to_rgb(const Image& image) {
  if (image.channels == 3) return image;
  Image rgb(image.height, image.width, 3);
  const uint8_t* in = image.pixels.data();
  uint8_t* out = rgb.pixels.data();
  const int64_t pixels = image.height * image.width;
  const int64_t step = image.channels;
  const bool gray = step < 3;
  for (int64_t i = 0; i < pixels; ++i, in += step, out += 3) {
    out[0] = in[0];
    out[1] = gray ? in[0] : in[1];
    out[2] = gray ? in[0] : in[2];
  }
  return rgb;
}

Image to_gray(const Image& image) {
  if (image.channels == 1) return image;
  Image gray(image.height, image.width, 1);
  const uint8_t* in = image.pixels.data();
  const int64_t step = image.channels;
  for (uint8_t& out : gray.pixels) {
    out = step == 2 ? in[0]
                    : static_cast<uint8_t>((19595U * in[0] + 38470U * in[1] + 7471U * in[2] + 32768U) >> 16);
    in += step;
  }
  return gray;
}

Image oriented(Image image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  // EXIF 2.3, tag 0x0112: 2 and 4 mirror, 3 is half a turn, 5..8 exchange rows and columns.
  const bool transposed = orientation >= 5;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image turned(transposed ? image.width : image.height, transposed ? image.height : image.width,
               image.channels);
  for (int64_t y = 0; y < turned.height; ++y) {
    uint8_t* out = turned.row(y);
    for (int64_t x = 0; x < turned.width; ++x, out += image.channels) {
      int64_t source_x = transposed ? y : x;
      int64_t source_y = transposed ? x : y;
      if (flip_x) source_x = image.width - 1 - source_x;
      if (flip_y) source_y = image.height - 1 - source_y;
      std::copy_n(image.row(source_y) + source_x * image.channels, image.channels, out);
    }
  }
  return turned;
}

}  // namespace panda::data
