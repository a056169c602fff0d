#include "data/png_prepass.h"

#include <zlib.h>

#include <algorithm>

namespace panda::data::codec {

namespace {

constexpr size_t kSignatureBytes = 8;
constexpr uint8_t kSignature[kSignatureBytes] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
// Length, type and checksum of a chunk.
constexpr size_t kChunkFrameBytes = 12;
// Deflate's best: 258 bytes in two bits (one for the length, one for the distance), 1032 to 1.
constexpr int64_t kDeflateExpansion = 1032;

struct Chunk {
  std::string type;
  size_t offset = 0;  // of its length field
  Bytes data;
  Bytes whole;
};

class Prepass {
 public:
  Prepass(Bytes file, const std::string& source, const DecodeOptions& options)
      : file_(file), source_(source), options_(options) {}

  PngLayout run() {
    if (file_.size() < kSignatureBytes ||
        !std::equal(kSignature, kSignature + kSignatureBytes, file_.begin())) {
      fail("the PNG signature is damaged or cut", 0);
    }
    layout_.picture.push_back(file_.first(kSignatureBytes));
    at_ = kSignatureBytes;
    while (!ended_) {
      const Chunk chunk = next_chunk();
      if (layout_.width == 0 && chunk.type != "IHDR") {
        fail(text("the first chunk is ", chunk.type, ", expected IHDR"), chunk.offset);
      }
      if (idat_seen_ && chunk.type != "IDAT") idat_closed_ = true;
      visit(chunk);
    }
    return std::move(layout_);
  }

 private:
  [[noreturn]] void fail(const std::string& what, size_t offset) const {
    throw FormatError(source_, what, static_cast<int64_t>(offset));
  }

  Chunk next_chunk() {
    const size_t left = file_.size() - at_;
    if (left == 0) fail("the file is cut: it ends before the IEND chunk", at_);
    if (left < kChunkFrameBytes) fail("the file is cut inside a chunk", at_);
    const uint64_t length = u32be(&file_[at_]);
    Chunk chunk;
    chunk.offset = at_;
    for (size_t i = 4; i < 8; ++i) {
      const uint8_t c = file_[at_ + i];
      if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
        fail("a chunk's type is not four letters", at_ + 4);
      chunk.type += static_cast<char>(c);
    }
    if (length > left - kChunkFrameBytes) {
      fail(text("the file is cut: chunk ", chunk.type, " has ", length, " bytes, but ",
                left - kChunkFrameBytes, " are left"),
           at_);
    }
    chunk.whole = file_.subspan(at_, static_cast<size_t>(length) + kChunkFrameBytes);
    chunk.data = chunk.whole.subspan(8, static_cast<size_t>(length));
    const uint32_t stored = u32be(&chunk.whole[8 + chunk.data.size()]);
    const auto actual = static_cast<uint32_t>(::crc32_z(0, &chunk.whole[4], chunk.data.size() + 4));
    if (stored != actual)
      fail(text("the checksum of chunk ", chunk.type, " is wrong: the file is damaged"), at_);
    at_ += chunk.whole.size();
    return chunk;
  }

  void visit(const Chunk& chunk) {
    if (chunk.type == "IHDR") {
      visit_header(chunk);
    } else if (chunk.type == "PLTE") {
      visit_palette(chunk);
    } else if (chunk.type == "tRNS") {
      visit_transparency(chunk);
    } else if (chunk.type == "IDAT") {
      if (idat_closed_) fail("IDAT chunks are not consecutive", chunk.offset);
      if (layout_.colour == kPngPalette && layout_.palette_entries == 0)
        fail("no PLTE chunk before IDAT", chunk.offset);
      idat_seen_ = true;
      layout_.idat_bytes += static_cast<int64_t>(chunk.data.size());
      layout_.picture.push_back(chunk.whole);
    } else if (chunk.type == "IEND") {
      if (!idat_seen_) fail("no IDAT chunk before IEND", chunk.offset);
      if (!chunk.data.empty()) fail("chunk IEND is not empty", chunk.offset);
      layout_.picture.push_back(chunk.whole);
      ended_ = true;
    } else if (chunk.type == "eXIf") {
      layout_.orientation = exif_orientation(chunk.data);
    } else if (chunk.type[0] >= 'A' && chunk.type[0] <= 'Z') {
      // An upper-case first letter says that the picture cannot be understood without this chunk.
      fail(text("unknown critical chunk ", chunk.type), chunk.offset);
    }
  }

  void visit_header(const Chunk& chunk) {
    if (layout_.width != 0) fail("a second IHDR chunk", chunk.offset);
    if (chunk.data.size() != 13)
      fail(text("chunk IHDR has ", chunk.data.size(), " bytes, expected 13"), chunk.offset);
    const uint8_t* header = chunk.data.data();
    const size_t at = chunk.offset + 8;
    check_extent(u32be(header), u32be(header + 4), source_, options_, static_cast<int64_t>(at));
    layout_.width = u32be(header);
    layout_.height = u32be(header + 4);
    layout_.bit_depth = header[8];
    layout_.colour = header[9];
    const int depth = layout_.bit_depth;
    const bool small = depth == 1 || depth == 2 || depth == 4;
    const bool known =
        (layout_.colour == kPngGray && (small || depth == 8 || depth == 16)) ||
        (layout_.colour == kPngPalette && (small || depth == 8)) ||
        ((layout_.colour == kPngRgb || layout_.colour == kPngGrayAlpha || layout_.colour == kPngRgba) &&
         (depth == 8 || depth == 16));
    if (!known) {
      fail(text("bit depth ", depth, " with colour type ", static_cast<int>(layout_.colour), " is no PNG"),
           at + 8);
    }
    if (header[10] != 0)
      fail(text("compression method ", static_cast<int>(header[10]), ", expected 0"), at + 10);
    if (header[11] != 0) fail(text("filter method ", static_cast<int>(header[11]), ", expected 0"), at + 11);
    if (header[12] > 1)
      fail(text("interlace method ", static_cast<int>(header[12]), ", expected 0 or 1"), at + 12);
    layout_.picture.push_back(chunk.whole);
  }

  void visit_palette(const Chunk& chunk) {
    if (idat_seen_ || palette_seen_ || layout_.transparency) fail("chunk PLTE is out of place", chunk.offset);
    if (chunk.data.empty() || chunk.data.size() % 3 != 0 || chunk.data.size() > 768) {
      fail(text("chunk PLTE has ", chunk.data.size(), " bytes, expected 3 for each of 1 to 256 colours"),
           chunk.offset);
    }
    if (layout_.colour == kPngGray || layout_.colour == kPngGrayAlpha)
      fail("a gray image with a PLTE chunk", chunk.offset);
    palette_seen_ = true;
    if (layout_.colour != kPngPalette) return;  // a suggestion for displays of few colours
    layout_.palette_entries = static_cast<int64_t>(chunk.data.size() / 3);
    if (layout_.palette_entries > int64_t{1} << layout_.bit_depth) {
      fail(text("a palette of ", layout_.palette_entries, " colours for ", layout_.bit_depth, " bits"),
           chunk.offset);
    }
    layout_.picture.push_back(chunk.whole);
  }

  void visit_transparency(const Chunk& chunk) {
    if (idat_seen_ || layout_.transparency) fail("chunk tRNS is out of place", chunk.offset);
    size_t wanted = 0;
    switch (layout_.colour) {
      case kPngGray:
        wanted = 2;
        break;
      case kPngRgb:
        wanted = 6;
        break;
      case kPngPalette:
        if (layout_.palette_entries == 0) fail("chunk tRNS before PLTE", chunk.offset);
        wanted = std::clamp<size_t>(chunk.data.size(), 1, static_cast<size_t>(layout_.palette_entries));
        break;
      default:
        fail("chunk tRNS in an image with alpha", chunk.offset);
    }
    if (chunk.data.size() != wanted) {
      fail(text("chunk tRNS has ", chunk.data.size(), " bytes, expected ", wanted), chunk.offset);
    }
    layout_.transparency = true;
    layout_.picture.push_back(chunk.whole);
  }

  Bytes file_;
  const std::string& source_;
  const DecodeOptions& options_;
  PngLayout layout_;
  size_t at_ = 0;
  bool palette_seen_ = false;
  bool idat_seen_ = false;
  bool idat_closed_ = false;
  bool ended_ = false;
};

}  // namespace

PngLayout check_png(Bytes file, const std::string& source, const DecodeOptions& options) {
  PngLayout layout = Prepass(file, source, options).run();
  const int samples = layout.colour == kPngRgb         ? 3
                      : layout.colour == kPngRgba      ? 4
                      : layout.colour == kPngGrayAlpha ? 2
                                                       : 1;
  // Each row is preceded by its filter's number; an interlaced image has more and shorter rows.
  const int64_t row_bytes = (layout.width * samples * layout.bit_depth + 7) / 8 + 1;
  check_expansion(row_bytes * layout.height, layout.idat_bytes, kDeflateExpansion, source);
  return layout;
}

}  // namespace panda::data::codec
