// Every way to break an image file that we know of must end in an error, and in the right kind of it.
#include <gtest/gtest.h>

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "data/image_decode.h"
#include "kernels/tensor/error.h"
#include "tests/unit/data/support.h"

namespace panda::data {
namespace {

using Bytes = std::vector<uint8_t>;

struct Fixture {
  std::string name;
  Bytes bytes;
};

std::vector<Fixture> fixtures() {
  std::vector<Fixture> all;
  for (const std::string& line : test::golden_lines("images.txt")) {
    const std::string name = line.substr(0, line.find(' '));
    all.push_back({name, read_file(test::golden_path("images/" + name))});
  }
  return all;
}

Bytes fixture(const std::string& name) {
  return read_file(test::golden_path("images/" + name));
}

/// The FormatError's message; "" if the bytes decode. Any other exception fails the test.
std::string refusal(const Bytes& bytes) {
  try {
    (void)decode_image(bytes, "x");
  } catch (const FormatError& error) {
    EXPECT_EQ(std::string(error.what()).rfind("x: ", 0), 0U) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "";
}

void expect_refused(const Bytes& bytes, const std::string& part) {
  const std::string message = refusal(bytes);
  EXPECT_NE(message.find(part), std::string::npos)
      << "got \"" << message << "\", expected \"" << part << "\"";
}

void put_u32be(Bytes& bytes, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<uint8_t>(value >> (24 - 8 * i));
}
void put_u32le(Bytes& bytes, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
}

void append_chunk(Bytes& png, const char* type, const Bytes& data) {
  const size_t at = png.size();
  png.resize(at + 8);
  put_u32be(png, at, static_cast<uint32_t>(data.size()));
  std::memcpy(&png[at + 4], type, 4);
  png.insert(png.end(), data.begin(), data.end());
  png.resize(png.size() + 4);
  put_u32be(png, png.size() - 4, static_cast<uint32_t>(::crc32_z(0, &png[at + 4], data.size() + 4)));
}

/// Corrects the checksum of the IHDR chunk after a change of its fields.
void reseal_header(Bytes& png) {
  put_u32be(png, 29, static_cast<uint32_t>(::crc32_z(0, &png[12], 17)));
}

Bytes png_start(uint32_t width, uint32_t height, uint8_t depth, uint8_t colour, uint8_t interlace = 0) {
  Bytes png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  Bytes header(13);
  put_u32be(header, 0, width);
  put_u32be(header, 4, height);
  header[8] = depth;
  header[9] = colour;
  header[12] = interlace;
  append_chunk(png, "IHDR", header);
  return png;
}

Bytes deflated(const Bytes& raw) {
  uLongf bytes = ::compressBound(raw.size());
  Bytes out(bytes);
  EXPECT_EQ(::compress(out.data(), &bytes, raw.data(), raw.size()), Z_OK);
  out.resize(bytes);
  return out;
}

TEST(BrokenImage, CutAnywhereIsAnError) {
  for (const Fixture& whole : fixtures()) {
    ASSERT_EQ(refusal(whole.bytes), "") << whole.name;
    const size_t tail = whole.name == "rgb8-trailing.png" ? 9 : 0;  // behind IEND: no part of the picture
    for (size_t size = 0; size + tail < whole.bytes.size(); ++size) {
      const Bytes cut(whole.bytes.begin(), whole.bytes.begin() + static_cast<std::ptrdiff_t>(size));
      ASSERT_NE(refusal(cut), "") << whole.name << " cut to " << size << " of " << whole.bytes.size();
    }
  }
}

TEST(BrokenImage, AnyFlippedBitOfAPngIsAnError) {
  for (const Fixture& whole : fixtures()) {
    if (whole.name.find(".png") == std::string::npos || whole.name == "rgb8-trailing.png") continue;
    for (size_t bit = 0; bit < whole.bytes.size() * 8; ++bit) {
      Bytes flipped = whole.bytes;
      flipped[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
      ASSERT_NE(refusal(flipped), "") << whole.name << " bit " << bit;
    }
  }
}

TEST(BrokenImage, FlippedBitsOfOtherFormatsGiveAPictureOrAnError) {
  int pictures = 0;
  int errors = 0;
  for (const Fixture& whole : fixtures()) {
    if (whole.name.find(".png") != std::string::npos) continue;
    for (size_t bit = 0; bit < whole.bytes.size() * 8; bit += 1 + bit % 3) {
      Bytes flipped = whole.bytes;
      flipped[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
      ++(refusal(flipped).empty() ? pictures : errors);
    }
  }
  EXPECT_GT(pictures, 1000);  // BMP and PNM have no checksums
  EXPECT_GT(errors, 1000);
}

TEST(BrokenImage, EveryByteOfTheHeaderAtItsExtremes) {
  for (const Fixture& whole : fixtures()) {
    for (size_t at = 0; at < std::min<size_t>(whole.bytes.size(), 160); ++at) {
      for (const uint32_t value : {0U, 1U, 0x7fU, 0x80U, 0xffU, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        Bytes changed = whole.bytes;
        changed[at] = static_cast<uint8_t>(value);
        (void)refusal(changed);
        if (at + 4 > changed.size()) continue;
        put_u32be(changed, at, value);
        (void)refusal(changed);
        put_u32le(changed, at, value);
        (void)refusal(changed);
      }
    }
  }
}

TEST(BrokenPng, HeaderFields) {
  const auto with = [](size_t at, uint8_t value) {
    Bytes png = fixture("rgb8.png");
    png[at] = value;
    reseal_header(png);
    return png;
  };
  const auto sized = [](uint32_t width, uint32_t height) {
    Bytes png = fixture("rgb8.png");
    put_u32be(png, 16, width);
    put_u32be(png, 20, height);
    reseal_header(png);
    return png;
  };
  expect_refused(sized(0, 11), "0 x 11 pixels");
  expect_refused(sized(13, 0), "13 x 0 pixels");
  expect_refused(sized(0x7fffffff, 0x7fffffff), "2147483647 x 2147483647 pixels");
  expect_refused(sized(0xffffffff, 1), "4294967295 x 1 pixels");
  expect_refused(sized(46341, 46341), "46341 x 46341 pixels, expected at most 178956970 in all");
  expect_refused(sized(13000, 13000), "the header claims 507013000 bytes of samples");
  expect_refused(sized(13, 12), "damaged PNG");  // one row more than there are data for
  expect_refused(sized(13, 10), "damaged PNG");  // one row fewer
  expect_refused(with(24, 3), "bit depth 3 with colour type 2 is no PNG");
  expect_refused(with(25, 1), "bit depth 8 with colour type 1 is no PNG");
  expect_refused(with(26, 1), "compression method 1");
  expect_refused(with(27, 1), "filter method 1");
  expect_refused(with(28, 2), "interlace method 2");
}

TEST(BrokenPng, ChunksOutOfPlace) {
  const Bytes data = deflated(Bytes(3 * (1 + 4), 0));
  const Bytes palette(3 * 16, 7);
  Bytes png = png_start(4, 3, 8, 3);
  append_chunk(png, "IDAT", data);
  append_chunk(png, "IEND", {});
  expect_refused(png, "no PLTE chunk before IDAT");

  png = png_start(4, 3, 8, 0);
  append_chunk(png, "PLTE", palette);
  expect_refused(png, "a gray image with a PLTE chunk");

  png = png_start(4, 3, 8, 3);
  append_chunk(png, "PLTE", Bytes(4, 0));
  expect_refused(png, "chunk PLTE has 4 bytes");

  png = png_start(4, 3, 2, 3);
  append_chunk(png, "PLTE", palette);
  expect_refused(png, "a palette of 16 colours for 2 bits");

  png = png_start(4, 3, 8, 3);
  append_chunk(png, "PLTE", palette);
  append_chunk(png, "tRNS", Bytes(17, 0));
  expect_refused(png, "chunk tRNS has 17 bytes, expected 16");

  png = png_start(4, 3, 8, 0);
  append_chunk(png, "IDAT", Bytes(data.begin(), data.begin() + 5));
  append_chunk(png, "tEXt", {'a', 0, 'b'});
  append_chunk(png, "IDAT", Bytes(data.begin() + 5, data.end()));
  append_chunk(png, "IEND", {});
  expect_refused(png, "IDAT chunks are not consecutive");

  png = png_start(4, 3, 8, 0);
  append_chunk(png, "IEND", {});
  expect_refused(png, "no IDAT chunk before IEND");

  png = png_start(4, 3, 8, 0);
  append_chunk(png, "IDAT", data);
  append_chunk(png, "ABCD", {});
  expect_refused(png, "unknown critical chunk ABCD");

  png = png_start(4, 3, 8, 0);
  append_chunk(png, "IHDR", Bytes(13, 0));
  expect_refused(png, "a second IHDR chunk");

  png = png_start(4, 3, 8, 0);
  append_chunk(png, "IDAT", data);
  append_chunk(png, "IEND", {});
  EXPECT_EQ(refusal(png), "");
  png.erase(png.begin() + 8, png.begin() + 33);
  expect_refused(png, "the first chunk is IDAT, expected IHDR");
}

TEST(BrokenPng, PixelsBehindAPaletteOfFewerColours) {
  Bytes png = png_start(1, 1, 8, 3);
  append_chunk(png, "PLTE", Bytes(3, 9));
  append_chunk(png, "IDAT", deflated({0, 200}));
  append_chunk(png, "IEND", {});
  // libpng gives black for a colour the palette lacks or refuses it; never memory behind the palette.
  try {
    EXPECT_EQ(decode_image(png, "x").pixels, (Bytes{0, 0, 0}));
  } catch (const FormatError&) {
  }
}

TEST(BrokenPng, DecompressedDataAreChecked) {
  Bytes data = deflated(Bytes(3 * (1 + 4), 0));
  data.back() ^= 1;  // the Adler-32 of the data
  Bytes png = png_start(4, 3, 8, 0);
  append_chunk(png, "IDAT", data);
  append_chunk(png, "IEND", {});
  expect_refused(png, "damaged PNG");
}

TEST(BrokenJpeg, MarkersAndFields) {
  const Bytes whole = fixture("rgb420.jpg");
  const Bytes marker = {0xff, 0xc0};
  const auto found = std::search(whole.begin(), whole.end(), marker.begin(), marker.end());
  const auto frame = static_cast<size_t>(found - whole.begin());
  ASSERT_LT(frame, whole.size());
  const auto with = [&](size_t at, std::initializer_list<uint8_t> values) {
    Bytes jpeg = whole;
    std::copy(values.begin(), values.end(), jpeg.begin() + static_cast<std::ptrdiff_t>(frame + at));
    return jpeg;
  };
  expect_refused(with(5, {0, 0}), "35 x 0 pixels");
  expect_refused(with(7, {0, 0}), "0 x 29 pixels");
  expect_refused(with(5, {0xff, 0xff, 0xff, 0xff}), "65535 x 65535 pixels");
  expect_refused(with(5, {0x30, 0, 0x30, 0}), "the header claims 150994944 bytes of samples");
  expect_refused(with(4, {12}), "JPEG of 12 bits");
  expect_refused(with(9, {2}), "a frame header of");
  expect_refused(with(11, {0x50}), "sampling factors 5 x 0");
  expect_refused(with(1, {0xc3}), "lossless or hierarchical JPEG");
  expect_refused(with(1, {0xc9}), "arithmetic-coded JPEG");
  expect_refused(with(5, {0, 60}), "damaged JPEG");  // more rows than the scan holds
  expect_refused(with(0, {0xfe}), "bytes between two marker segments");
  expect_refused({0xff, 0xd8, 0xff, 0xd9}, "no picture before the end marker");
}

TEST(BrokenJpeg, DamageInsideTheScanThatLibjpegOnlyWarnsAbout) {
  // A restart marker out of order: libjpeg would guess and go on.
  Bytes jpeg = fixture("restart.jpg");
  for (size_t at = 2; at + 1 < jpeg.size(); ++at) {
    if (jpeg[at] == 0xff && jpeg[at + 1] == 0xd1) {
      jpeg[at + 1] = 0xd5;
      break;
    }
  }
  expect_refused(jpeg, "damaged JPEG: Corrupt JPEG data");
}

TEST(BrokenBmp, Fields) {
  const auto with = [](const char* name, size_t at, uint32_t value) {
    Bytes bmp = fixture(name);
    put_u32le(bmp, at, value);
    return bmp;
  };
  expect_refused(with("rgb24.bmp", 14, 41), "a BMP header of 41 bytes");
  expect_refused(with("rgb24.bmp", 18, 0), "0 x 7 pixels");
  expect_refused(with("rgb24.bmp", 18, 0x80000000), "pixels, expected at least 1 x 1");
  expect_refused(with("rgb24.bmp", 22, 0x80000000), "11 x 2147483648 pixels");
  expect_refused(with("rgb24.bmp", 22, 8), "the file is cut");
  expect_refused(with("rgb24.bmp", 30, 1), "a BMP of compression 1, expected none");
  expect_refused(with("rgb24.bmp", 10, 20), "the pixels begin inside the header");
  expect_refused(with("rgb24.bmp", 2, 100000), "the file is cut");
  expect_refused(with("palette4.bmp", 46, 17), "a palette of 17 colours for 4 bits");
  expect_refused(with("palette8.bmp", 10, 60), "the pixels begin inside the palette");
  expect_refused(with("palette4.bmp", 46, 2), "damaged BMP: a pixel of colour");
  expect_refused(with("rgb565.bmp", 54, 0), "channel mask 0 is no run of bits");
  expect_refused(with("rgb565.bmp", 54, 0x0f0f), "channel mask 3855 is no run of bits");
  expect_refused(with("rgb565.bmp", 54, 0x07e0), "is no run of bits of its own");
}

TEST(BrokenPnm, Headers) {
  const auto bytes = [](const std::string& text) { return Bytes(text.begin(), text.end()); };
  expect_refused(bytes("P5 2 2 255\nabc"), "the file is cut: 3 bytes follow the header, expected 4");
  expect_refused(bytes("P5 2 2 255\nabcde"), "5 bytes follow the header, expected 4");
  expect_refused(bytes("P5 2 2 0\nabcd"), "a maximum value of 0");
  expect_refused(bytes("P5 2 2 65536\nabcd"), "a maximum value of 65536");
  expect_refused(bytes("P5 2 2 10\nabcd"), "sample 97 above the maximum 10");
  expect_refused(bytes("P5 2147483648 2147483648 255\n"), "2147483648 x 2147483648 pixels");
  expect_refused(bytes("P5 99999999999 1 255\n"), "too many digits");
  expect_refused(bytes("P5 -1 1 255\n"), "no width");
  expect_refused(bytes("P5 2 2 255#"), "does not end in white space");
  expect_refused(bytes("P2 1 1 255\n7\n"), "is a P2 file (plain PNM)");
  expect_refused(bytes("P7\n"), "is a P7 file (PAM)");
}

}  // namespace
}  // namespace panda::data
