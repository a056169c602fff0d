#include "data/image_decode.h"

#include <gtest/gtest.h>

#include "data/image_write.h"
#include "kernels/tensor/error.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/data/support.h"

namespace panda::data {
namespace {

std::string error_of(std::span<const uint8_t> bytes) {
  try {
    (void)decode_image(bytes, "x");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string error_of(const std::string& bytes) {
  return error_of({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

TEST(DecodeImage, GivesTheGoldenPixelsOfEveryFixture) {
  int compared = 0;
  for (const std::string& line : test::golden_lines("images.txt")) {
    std::istringstream fields(line);
    std::string name;
    int64_t channels = 0, height = 0, width = 0;
    test::Hash expected;
    fields >> name >> channels >> height >> width >> expected.first >> expected.second;
    ASSERT_TRUE(fields) << line;
    const Image image = load_image(test::golden_path("images/" + name));
    EXPECT_EQ(image.channels, channels) << name;
    EXPECT_EQ(image.height, height) << name;
    EXPECT_EQ(image.width, width) << name;
    EXPECT_EQ(test::hash_of(image), expected) << name;
    ++compared;
  }
  EXPECT_GE(compared, 50);
}

TEST(DecodeImage, ReducesEvery16BitValueByRounding) {
  std::string file = "P5 256 256 65535\n";
  for (int v = 0; v < 65536; ++v) {
    file += static_cast<char>(v >> 8);
    file += static_cast<char>(v & 255);
  }
  const Image image = decode_image({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, "x");
  for (int v = 0; v < 65536; ++v) {
    ASSERT_EQ(image.pixels[static_cast<size_t>(v)], static_cast<int>(v / 257.0 + 0.5)) << v;
  }
}

TEST(DecodeImage, LeavesTheOrientationWhenToldTo) {
  DecodeOptions options;
  const Image upright = load_image(test::golden_path("images/exif6.jpg"), options);
  options.apply_orientation = false;
  const Image stored = load_image(test::golden_path("images/exif6.jpg"), options);
  EXPECT_EQ(stored.height, upright.width);
  EXPECT_EQ(oriented(stored, 6).pixels, upright.pixels);
}

TEST(DecodeImage, NamesImpostors) {
  using namespace std::string_literals;
  EXPECT_EQ(error_of(""s), "x: is empty, expected a PNG, JPEG, BMP or PNM image (byte 0)");
  EXPECT_EQ(error_of("version https://git-lfs.github.com/spec/v1\noid sha256:1\n"s),
            "x: is a git-lfs pointer (the file itself was not fetched), expected a PNG, JPEG, BMP or PNM "
            "image (byte 0)");
  const auto expect_named = [](const std::string& bytes, const std::string& name) {
    EXPECT_NE(error_of(bytes).find("x: is " + name + ", expected"), std::string::npos) << error_of(bytes);
  };
  expect_named("\n <!DOCTYPE html><html>", "an HTML page");
  expect_named("GIF89a\1\1", "a GIF image");
  expect_named("RIFF\x10\0\0\0WEBPVP8 "s, "a WebP image");
  expect_named("II*\0\x08\0\0\0"s, "a TIFF image");
  expect_named("MM\0*\0\0\0\x08"s, "a TIFF image");
  expect_named("\0\0\0\x1c"s + "ftypavif", "an AVIF image");
  expect_named("%PDF-1.7\n", "a PDF file");
  expect_named("PK\3\4zzzz", "a zip archive");
  expect_named(std::string(100, '\0'), "a file of zero bytes");
  expect_named("hello, world\n", "a text file");
  expect_named("<?xml version='1.0'?><svg>", "an SVG drawing");
  expect_named("\1\2\3\4", "no image of a known format");
}

TEST(DecodeImage, TakesTheFormatFromTheBytesAndNotFromTheName) {
  const ::panda::test::TemporaryDirectory folder;
  const std::vector<uint8_t> png = read_file(test::golden_path("images/rgb8.png"));
  const std::string path = folder.write("a.jpg", {reinterpret_cast<const char*>(png.data()), png.size()});
  EXPECT_EQ(load_image(path).channels, 3);
}

TEST(LoadImage, RefusesDirectoriesAndMissingFiles) {
  const ::panda::test::TemporaryDirectory folder;
  EXPECT_THROW((void)load_image(folder.path()), InvalidArgument);
  EXPECT_THROW((void)load_image(folder.path("none.png")), IoError);
  const std::string strange = folder.write("a\nb.png", "");
  try {
    (void)load_image(strange);
    FAIL() << "no error";
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("a\\x0ab.png: is empty"), std::string::npos) << error.what();
  }
}

TEST(DecodeImage, LimitsPixelsAndSides) {
  const std::vector<uint8_t> file = read_file(test::golden_path("images/rgb8.png"));  // 13 x 11
  DecodeOptions options;
  options.max_pixels = 142;
  EXPECT_THROW((void)decode_image(file, "x", options), FormatError);
  options.max_pixels = 143;
  EXPECT_NO_THROW((void)decode_image(file, "x", options));
  options.max_dimension = 12;
  EXPECT_THROW((void)decode_image(file, "x", options), FormatError);
}

TEST(ToRgb, ReplicatesGrayAndDropsAlpha) {
  Image image(1, 2, 2);
  image.pixels = {10, 0, 20, 255};
  EXPECT_EQ(to_rgb(image).pixels, (std::vector<uint8_t>{10, 10, 10, 20, 20, 20}));
  EXPECT_EQ(to_gray(image).pixels, (std::vector<uint8_t>{10, 20}));
  Image rgba(1, 1, 4);
  rgba.pixels = {1, 2, 3, 4};
  EXPECT_EQ(to_rgb(rgba).pixels, (std::vector<uint8_t>{1, 2, 3}));
  Image rgb(1, 3, 3);
  rgb.pixels = {255, 0, 0, 0, 255, 0, 0, 0, 255};
  EXPECT_EQ(to_gray(rgb).pixels, (std::vector<uint8_t>{76, 150, 29}));
}

TEST(WritePng, RoundTripsEveryChannelCount) {
  const ::panda::test::TemporaryDirectory folder;
  for (const int64_t channels : {1, 2, 3, 4}) {
    const Image image = test::made_image(static_cast<uint64_t>(channels), 0, channels, 19, 23);
    const std::string path = folder.path("image.png");
    write_png(path, image);
    const Image back = load_image(path);
    EXPECT_EQ(back.channels, channels);
    EXPECT_EQ(back.pixels, image.pixels);
    EXPECT_EQ(encode_png(image), encode_png(image));
  }
  EXPECT_THROW((void)encode_png(Image()), InvalidArgument);
  EXPECT_THROW((void)encode_png(Image(2, 2, 5)), InvalidArgument);
  EXPECT_THROW(write_png(folder.path("no/such/a.png"), Image(2, 2, 1)), IoError);
}

}  // namespace
}  // namespace panda::data
