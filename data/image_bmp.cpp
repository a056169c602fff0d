// BMP without compression: 1, 4 and 8 bits with a palette, 16, 24 and 32 bits with or without channel masks.
//
// The header check has to find every field that decoding needs, so the samples are read here and no decoder
// library is used.
#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "data/image_codecs.h"

namespace panda::data::codec {

namespace {

constexpr size_t kFileHeaderBytes = 14;
constexpr size_t kCoreHeaderBytes = 12;  // OS/2 1.x: 16-bit extents, palette of three bytes
constexpr size_t kInfoHeaderBytes = 40;
constexpr uint32_t kNoCompression = 0;
constexpr uint32_t kBitFields = 3;
constexpr uint32_t kAlphaBitFields = 6;

struct BmpLayout {
  int64_t width = 0;
  int64_t height = 0;
  bool top_down = false;
  int bits = 0;
  size_t pixels_at = 0;
  int64_t row_bytes = 0;
  std::array<uint32_t, 4> masks{};              // R, G, B, A for 16 and 32 bits
  std::vector<std::array<uint8_t, 3>> palette;  // R, G, B for 1, 4, 8 bits
  bool gray_palette = false;
};

class Header {
 public:
  Header(Bytes file, const std::string& source, const DecodeOptions& options)
      : file_(file), source_(source), options_(options) {}

  BmpLayout run() {
    if (file_.size() < kFileHeaderBytes + 4) fail("the file is cut inside the BMP header", file_.size());
    header_bytes_ = u32le(&file_[kFileHeaderBytes]);
    constexpr std::array<size_t, 7> kKnown = {kCoreHeaderBytes, kInfoHeaderBytes, 52, 56, 64, 108, 124};
    if (std::find(kKnown.begin(), kKnown.end(), header_bytes_) == kKnown.end()) {
      fail(text("a BMP header of ", header_bytes_, " bytes, expected 12, 40, 52, 56, 64, 108 or 124"),
           kFileHeaderBytes);
    }
    if (file_.size() < kFileHeaderBytes + header_bytes_)
      fail("the file is cut inside the BMP header", file_.size());
    read_extent();
    read_format();
    layout_.pixels_at = u32le(&file_[10]);
    if (layout_.bits <= 8) read_palette();
    check_size();
    return std::move(layout_);
  }

 private:
  [[noreturn]] void fail(const std::string& what, size_t offset) const {
    throw FormatError(source_, what, static_cast<int64_t>(offset));
  }

  void read_extent() {
    if (header_bytes_ == kCoreHeaderBytes) {
      layout_.width = u16le(&file_[18]);
      layout_.height = u16le(&file_[20]);
    } else {
      layout_.width = static_cast<int32_t>(u32le(&file_[18]));
      const int64_t height = static_cast<int32_t>(u32le(&file_[22]));
      layout_.top_down = height < 0;
      layout_.height = height < 0 ? -height : height;
    }
    check_extent(layout_.width, layout_.height, source_, options_, 18);
  }

  void read_format() {
    const size_t at = header_bytes_ == kCoreHeaderBytes ? 22 : 26;
    const uint32_t planes = u16le(&file_[at]);
    if (planes != 1) fail(text("a BMP of ", planes, " planes, expected 1"), at);
    layout_.bits = static_cast<int>(u16le(&file_[at + 2]));
    constexpr std::array<int, 6> kKnown = {1, 4, 8, 16, 24, 32};
    if (std::find(kKnown.begin(), kKnown.end(), layout_.bits) == kKnown.end()) {
      fail(text("a BMP of ", layout_.bits, " bits, expected 1, 4, 8, 16, 24 or 32"), at + 2);
    }
    const uint32_t compression = header_bytes_ == kCoreHeaderBytes ? kNoCompression : u32le(&file_[30]);
    const bool masked = compression == kBitFields || compression == kAlphaBitFields;
    if (compression != kNoCompression && !(masked && (layout_.bits == 16 || layout_.bits == 32))) {
      fail(text("a BMP of compression ", compression, ", expected none"), 30);
    }
    palette_at_ = kFileHeaderBytes + header_bytes_;
    if (masked) {
      read_masks(compression == kAlphaBitFields);
    } else if (layout_.bits == 16) {
      layout_.masks = {0x7c00, 0x03e0, 0x001f, 0};
    } else {
      layout_.masks = {0xff0000, 0x00ff00, 0x0000ff, 0};
    }
  }

  void read_masks(bool with_alpha) {
    // Behind the 40 bytes that all versions share; inside the header from version 2 on.
    const size_t at = kFileHeaderBytes + kInfoHeaderBytes;
    const size_t count = header_bytes_ >= 56 || (header_bytes_ == kInfoHeaderBytes && with_alpha) ? 4 : 3;
    if (header_bytes_ == 64) fail("channel masks in an OS/2 header", 30);
    if (file_.size() < at + 4 * count) fail("the file is cut inside the channel masks", file_.size());
    if (header_bytes_ == kInfoHeaderBytes) palette_at_ += 4 * count;
    uint32_t seen = 0;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t mask = u32le(&file_[at + 4 * i]);
      const uint32_t low = mask == 0 ? 0 : mask >> std::countr_zero(mask);
      const bool absent = mask == 0 && i == 3;
      if (!absent && (mask == 0 || (low & (low + 1)) != 0 || (mask & seen) != 0 ||
                      (layout_.bits == 16 && mask > 0xffff))) {
        fail(text("channel mask ", mask, " is no run of bits of its own"), at + 4 * i);
      }
      seen |= mask;
      layout_.masks[i] = mask;
    }
  }

  void read_palette() {
    const size_t entry_bytes = header_bytes_ == kCoreHeaderBytes ? 3 : 4;
    size_t colours = header_bytes_ == kCoreHeaderBytes ? 0 : u32le(&file_[46]);
    if (colours == 0) colours = size_t{1} << layout_.bits;
    if (colours > size_t{1} << layout_.bits)
      fail(text("a palette of ", colours, " colours for ", layout_.bits, " bits"), 46);
    if (layout_.pixels_at < palette_at_) fail("the pixels begin inside the header", 10);
    // OS/2 files may leave colours out without saying so.
    if (header_bytes_ == kCoreHeaderBytes)
      colours = std::min(colours, (layout_.pixels_at - palette_at_) / entry_bytes);
    if (layout_.pixels_at < palette_at_ + colours * entry_bytes)
      fail("the pixels begin inside the palette", 10);
    if (file_.size() < palette_at_ + colours * entry_bytes)
      fail("the file is cut inside the palette", file_.size());
    layout_.gray_palette = true;
    for (size_t i = 0; i < colours; ++i) {
      const uint8_t* entry = &file_[palette_at_ + i * entry_bytes];
      layout_.palette.push_back({entry[2], entry[1], entry[0]});
      layout_.gray_palette &= entry[0] == entry[1] && entry[1] == entry[2];
    }
  }

  void check_size() {
    if (layout_.pixels_at < palette_at_) fail("the pixels begin inside the header", 10);
    layout_.row_bytes = (layout_.width * layout_.bits + 31) / 32 * 4;
    const uint64_t end =
        layout_.pixels_at + static_cast<uint64_t>(layout_.row_bytes) * static_cast<uint64_t>(layout_.height);
    const uint64_t stated = u32le(&file_[2]);
    if (file_.size() < end || file_.size() < stated) {
      fail(text("the file is cut: it has ", file_.size(), " bytes, expected ", std::max(end, stated)),
           file_.size());
    }
  }

  Bytes file_;
  const std::string& source_;
  const DecodeOptions& options_;
  BmpLayout layout_;
  size_t header_bytes_ = 0;
  size_t palette_at_ = 0;
};

void expand_palette_row(const BmpLayout& layout, const uint8_t* in, uint8_t* out, const std::string& source) {
  const int per_byte = 8 / layout.bits;
  const unsigned mask = (1U << layout.bits) - 1;
  for (int64_t x = 0; x < layout.width; ++x) {
    const int shift = 8 - layout.bits * static_cast<int>(x % per_byte + 1);
    const size_t index = static_cast<size_t>(in[x / per_byte]) >> shift & mask;
    if (index >= layout.palette.size()) {
      throw FormatError(source, text("damaged BMP: a pixel of colour ", index, ", but the palette has ",
                                     layout.palette.size()));
    }
    const std::array<uint8_t, 3>& colour = layout.palette[index];
    *out++ = colour[0];
    if (layout.gray_palette) continue;
    *out++ = colour[1];
    *out++ = colour[2];
  }
}

void expand_masked_row(const BmpLayout& layout, const uint8_t* in, uint8_t* out) {
  const int channels = layout.masks[3] != 0 ? 4 : 3;
  for (int64_t x = 0; x < layout.width; ++x) {
    const uint32_t pixel = layout.bits == 16 ? u16le(in + 2 * x) : u32le(in + 4 * x);
    for (int c = 0; c < channels; ++c) {
      const uint32_t mask = layout.masks[static_cast<size_t>(c)];
      const int shift = std::countr_zero(mask);
      // Rounded down, as Pillow widens its 5- and 6-bit channels; exact for 8 bits.
      *out++ = static_cast<uint8_t>(uint64_t{(pixel & mask) >> shift} * 255 / (mask >> shift));
    }
  }
}

void swap_bgr_row(const uint8_t* in, uint8_t* out, int64_t width) {
  for (int64_t x = 0; x < width; ++x, in += 3, out += 3) {
    out[0] = in[2];
    out[1] = in[1];
    out[2] = in[0];
  }
}

}  // namespace

Decoded decode_bmp(Bytes file, const std::string& source, const DecodeOptions& options) {
  const BmpLayout layout = Header(file, source, options).run();
  const bool palette = layout.bits <= 8;
  const int64_t channels = palette                                     ? (layout.gray_palette ? 1 : 3)
                           : layout.bits != 24 && layout.masks[3] != 0 ? 4
                                                                       : 3;
  Decoded decoded{Image(layout.height, layout.width, channels)};
  for (int64_t y = 0; y < layout.height; ++y) {
    const int64_t stored_row = layout.top_down ? y : layout.height - 1 - y;
    const uint8_t* in = file.data() + layout.pixels_at + stored_row * layout.row_bytes;
    uint8_t* out = decoded.image.row(y);
    if (palette) {
      expand_palette_row(layout, in, out, source);
    } else if (layout.bits == 24) {
      swap_bgr_row(in, out, layout.width);
    } else {
      expand_masked_row(layout, in, out);
    }
  }
  return decoded;
}

}  // namespace panda::data::codec
