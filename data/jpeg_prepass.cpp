#include "data/jpeg_prepass.h"

#include <algorithm>
#include <cstring>

namespace panda::data::codec {

namespace {

// Markers of ITU-T T.81, table B.1.
constexpr uint8_t kSof0 = 0xc0;
constexpr uint8_t kSof2 = 0xc2;
constexpr uint8_t kDht = 0xc4;
constexpr uint8_t kJpg = 0xc8;
constexpr uint8_t kDac = 0xcc;
constexpr uint8_t kSof15 = 0xcf;
constexpr uint8_t kRst0 = 0xd0;
constexpr uint8_t kRst7 = 0xd7;
constexpr uint8_t kEoi = 0xd9;
constexpr uint8_t kSos = 0xda;
constexpr uint8_t kDqt = 0xdb;
constexpr uint8_t kDnl = 0xdc;
constexpr uint8_t kDri = 0xdd;
constexpr uint8_t kApp1 = 0xe1;

// A Huffman code has at least one bit and every block of 64 samples has at least one code (its DC
// difference): 512 to 1.
constexpr int64_t kHuffmanExpansion = 512;
// Each scan of a progressive file costs a pass over the picture; encoders write about ten.
constexpr int kMaxScans = 100;

class Prepass {
 public:
  Prepass(Bytes file, const std::string& source, const DecodeOptions& options)
      : file_(file), source_(source), options_(options) {}

  JpegLayout run() {
    at_ = 2;  // behind SOI, which the caller has seen
    for (;;) {
      const uint8_t marker = next_marker();
      if (marker == kEoi) break;
      const Bytes segment = next_segment(marker);
      visit(marker, segment);
      if (marker == kSos) skip_scan();
    }
    if (scans_ == 0) fail("no picture before the end marker", at_);
    return layout_;
  }

 private:
  [[noreturn]] void fail(const std::string& what, size_t offset) const {
    throw FormatError(source_, what, static_cast<int64_t>(offset));
  }
  [[noreturn]] void fail_cut() const {
    fail("the file is cut: it ends before the JPEG end marker", file_.size());
  }

  uint8_t next_marker() {
    if (at_ >= file_.size()) fail_cut();
    if (file_[at_] != 0xff) fail("damaged JPEG: bytes between two marker segments", at_);
    while (at_ < file_.size() && file_[at_] == 0xff) ++at_;  // any number of fill bytes
    if (at_ >= file_.size()) fail_cut();
    const uint8_t marker = file_[at_++];
    if (marker < kSof0 || (marker >= kRst0 && marker <= kRst7) || marker == 0xd8) {
      fail(text("damaged JPEG: marker ", static_cast<int>(marker), " where a segment should begin"), at_ - 1);
    }
    return marker;
  }

  /// The segment's bytes behind its length field.
  Bytes next_segment(uint8_t marker) {
    if (file_.size() - at_ < 2) fail_cut();
    const size_t length = u16be(&file_[at_]);
    if (length < 2)
      fail(text("damaged JPEG: segment ", static_cast<int>(marker), " has length ", length), at_);
    if (length > file_.size() - at_) fail_cut();
    segment_at_ = at_ + 2;
    const Bytes segment = file_.subspan(segment_at_, length - 2);
    at_ += length;
    return segment;
  }

  void visit(uint8_t marker, Bytes segment) {
    switch (marker) {
      case kDht:
        return visit_huffman_tables(segment);
      case kDqt:
        return visit_quantisation_tables(segment);
      case kDri:
        if (segment.size() != 2) fail("damaged JPEG: a restart interval of another length", segment_at_);
        return;
      case kSos:
        return visit_scan_header(segment);
      case kApp1:
        return visit_exif(segment);
      case kDac:
        fail("arithmetic-coded JPEG, expected Huffman coding", segment_at_);
      case kDnl:
        fail("JPEG with a line count behind the scan (DNL), expected it in the frame header", segment_at_);
      default:
        break;
    }
    if (marker >= kSof0 && marker <= kSof15) visit_frame(marker, segment);
  }

  void visit_frame(uint8_t marker, Bytes segment) {
    if (marker > kSof2) {
      const bool arithmetic = marker > kJpg;
      fail(text(arithmetic ? "arithmetic-coded" : "lossless or hierarchical",
                " JPEG, expected baseline or progressive Huffman"),
           segment_at_);
    }
    if (layout_.components != 0) fail("damaged JPEG: a second frame header", segment_at_);
    if (segment.size() < 6 || segment.size() != 6 + 3 * static_cast<size_t>(segment[5])) {
      fail(text("damaged JPEG: a frame header of ", segment.size(), " bytes"), segment_at_);
    }
    if (segment[0] != 8)
      fail(text("JPEG of ", static_cast<int>(segment[0]), " bits, expected 8"), segment_at_);
    layout_.height = u16be(&segment[1]);
    layout_.width = u16be(&segment[3]);
    layout_.components = segment[5];
    check_extent(layout_.width, layout_.height, source_, options_, static_cast<int64_t>(segment_at_ + 1));
    if (layout_.components != 1 && layout_.components != 3 && layout_.components != 4) {
      fail(text("JPEG with ", layout_.components, " components, expected 1, 3 or 4"), segment_at_ + 5);
    }
    for (int i = 0; i < layout_.components; ++i) {
      const uint8_t sampling = segment[static_cast<size_t>(7 + 3 * i)];
      const int horizontal = sampling >> 4;
      const int vertical = sampling & 15;
      if (horizontal < 1 || horizontal > 4 || vertical < 1 || vertical > 4) {
        fail(text("damaged JPEG: sampling factors ", horizontal, " x ", vertical), segment_at_ + 7);
      }
    }
  }

  void visit_huffman_tables(Bytes segment) {
    size_t at = 0;
    while (at < segment.size()) {
      if (segment.size() - at < 17) fail("damaged JPEG: a Huffman table is cut", segment_at_ + at);
      size_t symbols = 0;
      for (size_t i = 1; i <= 16; ++i) symbols += segment[at + i];
      if (symbols > 256 || segment.size() - at - 17 < symbols)
        fail("damaged JPEG: a Huffman table is cut", segment_at_ + at);
      at += 17 + symbols;
    }
  }

  void visit_quantisation_tables(Bytes segment) {
    size_t at = 0;
    while (at < segment.size()) {
      const size_t table_bytes = (segment[at] >> 4) == 0 ? 65 : 129;
      if ((segment[at] >> 4) > 1 || segment.size() - at < table_bytes) {
        fail("damaged JPEG: a quantisation table is cut", segment_at_ + at);
      }
      at += table_bytes;
    }
  }

  void visit_scan_header(Bytes segment) {
    if (layout_.components == 0) fail("damaged JPEG: a scan before the frame header", segment_at_);
    if (segment.empty() || segment[0] < 1 || segment[0] > 4 ||
        segment.size() != 4 + 2 * static_cast<size_t>(segment[0])) {
      fail("damaged JPEG: a scan header of another length", segment_at_);
    }
    if (++scans_ > kMaxScans) fail(text("JPEG with more than ", kMaxScans, " scans"), segment_at_);
  }

  void visit_exif(Bytes segment) {
    constexpr uint8_t kName[6] = {'E', 'x', 'i', 'f', 0, 0};
    if (exif_seen_ || segment.size() < 6 || !std::equal(kName, kName + 6, segment.begin())) return;
    exif_seen_ = true;
    layout_.orientation = exif_orientation(segment.subspan(6));
  }

  /// Entropy-coded bytes: 0xff is followed by 0 (a stuffed byte), a restart marker, or the next segment's
  /// marker.
  void skip_scan() {
    const size_t begin = at_;
    for (;;) {
      const void* found = at_ < file_.size() ? std::memchr(&file_[at_], 0xff, file_.size() - at_) : nullptr;
      if (found == nullptr) fail_cut();
      at_ = static_cast<size_t>(static_cast<const uint8_t*>(found) - file_.data());
      if (at_ + 1 >= file_.size()) fail_cut();
      const uint8_t next = file_[at_ + 1];
      if (next == 0 || (next >= kRst0 && next <= kRst7)) {
        at_ += 2;
      } else if (next == 0xff) {
        ++at_;
      } else {
        break;
      }
    }
    layout_.scan_bytes += static_cast<int64_t>(at_ - begin);
  }

  Bytes file_;
  const std::string& source_;
  const DecodeOptions& options_;
  JpegLayout layout_;
  size_t at_ = 0;
  size_t segment_at_ = 0;
  int scans_ = 0;
  bool exif_seen_ = false;
};

}  // namespace

JpegLayout check_jpeg(Bytes file, const std::string& source, const DecodeOptions& options) {
  const JpegLayout layout = Prepass(file, source, options).run();
  check_expansion(layout.width * layout.height, layout.scan_bytes, kHuffmanExpansion, source);
  return layout;
}

}  // namespace panda::data::codec
