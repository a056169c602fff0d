// Binary PNM: P4 (bits), P5 (gray), P6 (RGB), one picture per file, exactly as long as its header says.
//
// The plain forms (P1, P2, P3) are refused: their numbers may be cut anywhere and still read as numbers.
#include "data/image_codecs.h"

namespace panda::data::codec {

namespace {

class Scanner {
 public:
  Scanner(Bytes file, const std::string& source) : file_(file), source_(source) {}

  [[nodiscard]] size_t at() const { return at_; }

  /// The next decimal number, behind white space and comments.
  int64_t number(const char* what) {
    skip_space();
    const size_t begin = at_;
    int64_t value = 0;
    while (at_ < file_.size() && file_[at_] >= '0' && file_[at_] <= '9') {
      value = value * 10 + (file_[at_] - '0');
      if (++at_ - begin > 10) fail(text("the ", what, " has too many digits"), begin);
    }
    if (at_ == begin) fail(text("no ", what, " in the PNM header"), begin);
    return value;
  }

  /// The one white space between header and samples.
  void end_header() {
    if (at_ >= file_.size() || !is_space(file_[at_])) fail("the PNM header does not end in white space", at_);
    ++at_;
  }

  [[noreturn]] void fail(const std::string& what, size_t offset) const {
    throw FormatError(source_, what, static_cast<int64_t>(offset));
  }

 private:
  static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

  void skip_space() {
    bool comment = false;
    for (; at_ < file_.size(); ++at_) {
      const uint8_t c = file_[at_];
      if (c == '#') comment = true;
      if (c == '\n' || c == '\r') comment = false;
      if (!comment && !is_space(c)) return;
    }
  }

  Bytes file_;
  const std::string& source_;
  size_t at_ = 2;
};

/// round(255 * value / max_value), ties to even (as Pillow).
uint8_t scaled(int64_t value, int64_t max_value) {
  const int64_t doubled = 2 * 255 * value + max_value;
  const int64_t rounded = doubled / (2 * max_value);
  return static_cast<uint8_t>(doubled % (2 * max_value) == 0 ? rounded / 2 * 2 : rounded);
}

void expand_bits(const uint8_t* in, int64_t row_bytes, Image& image) {
  for (int64_t y = 0; y < image.height; ++y) {
    uint8_t* out = image.row(y);
    for (int64_t x = 0; x < image.width; ++x) {
      const int bit = in[y * row_bytes + x / 8] >> (7 - x % 8) & 1;
      out[x] = bit != 0 ? 0 : 255;  // 1 is black
    }
  }
}

}  // namespace

Decoded decode_pnm(Bytes file, const std::string& source, const DecodeOptions& options) {
  const char kind = static_cast<char>(file[1]);
  Scanner scanner(file, source);
  if (kind < '4' || kind > '6') {
    scanner.fail(text("is a P", kind, " file (", kind == '7' ? "PAM" : "plain PNM",
                      "), expected binary PNM: P4, P5 or P6"),
                 1);
  }
  const int64_t width = scanner.number("width");
  const int64_t height = scanner.number("height");
  check_extent(width, height, source, options, 2);
  const int64_t max_value = kind == '4' ? 1 : scanner.number("maximum value");
  if (max_value < 1 || max_value > 65535) {
    scanner.fail(text("a maximum value of ", max_value, ", expected 1 to 65535"), scanner.at());
  }
  scanner.end_header();

  const int64_t channels = kind == '6' ? 3 : 1;
  const int64_t sample_bytes = max_value > 255 ? 2 : 1;
  const int64_t row_bytes = kind == '4' ? (width + 7) / 8 : width * channels * sample_bytes;
  const auto available = static_cast<int64_t>(file.size() - scanner.at());
  if (available != row_bytes * height) {
    scanner.fail(text(available < row_bytes * height ? "the file is cut: " : "", available,
                      " bytes follow the header, expected ", row_bytes * height),
                 scanner.at());
  }
  Decoded decoded{Image(height, width, channels)};
  const uint8_t* in = file.data() + scanner.at();
  if (kind == '4') {
    expand_bits(in, row_bytes, decoded.image);
    return decoded;
  }
  for (uint8_t& out : decoded.image.pixels) {
    const int64_t value = sample_bytes == 2 ? u16be(in) : *in;
    if (value > max_value) {
      scanner.fail(text("damaged PNM: sample ", value, " above the maximum ", max_value),
                   static_cast<size_t>(in - file.data()));
    }
    out = scaled(value, max_value);
    in += sample_bytes;
  }
  return decoded;
}

}  // namespace panda::data::codec
