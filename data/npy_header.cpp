#include "data/npy_header.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/tensor/error.h"

namespace panda::data::parts {

namespace {

constexpr int64_t kMaxHeaderBytes = 1 << 16;
constexpr size_t kMaxRank = 8;

/// The header's text: a Python dict literal with exactly the keys descr, fortran_order and shape.
class DictParser {
 public:
  DictParser(const std::string& header, const std::string& source, int64_t offset)
      : text_(header), source_(source), offset_(offset) {}

  void parse(NpyHeader& out) {
    expect('{');
    bool descr = false, order = false, shape = false;
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !descr) {
        out.type = string();
        descr = true;
      } else if (key == "fortran_order" && !order) {
        if (!accept_word("False")) fail("fortran_order is not False, expected C order");
        order = true;
      } else if (key == "shape" && !shape) {
        parse_shape(out.shape);
        shape = true;
      } else {
        fail("an unexpected or repeated key in the header");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !order || !shape) fail("the header lacks descr, fortran_order or shape");
    skip_space();
    if (at_ != text_.size()) fail("text behind the header's dictionary");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(source_, what, offset_ + static_cast<int64_t>(at_));
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char wanted) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(std::string("expected ") + wanted + " in the header");
  }
  bool accept_word(const char* word) {
    skip_space();
    const size_t length = std::strlen(word);
    if (text_.compare(at_, length, word) != 0) return false;
    at_ += length;
    return true;
  }
  std::string string() {
    skip_space();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"'))
      fail("expected a string in the header");
    const size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string::npos) fail("a string in the header does not end");
    std::string value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return value;
  }
  void parse_shape(std::vector<int64_t>& shape) {
    expect('(');
    while (!accept(')')) {
      skip_space();
      const size_t begin = at_;
      int64_t extent = 0;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
        if (at_ - begin > 17) fail("an extent has too many digits");
        extent = extent * 10 + (text_[at_++] - '0');
      }
      if (at_ == begin) fail("expected an extent in the shape");
      if (shape.size() == kMaxRank) fail("a shape of more than 8 extents");
      shape.push_back(extent);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  const std::string& text_;
  const std::string& source_;
  int64_t offset_;
  size_t at_ = 0;
};

}  // namespace

NpyHeader read_npy_header(const ByteStore& store, const std::string& path) {
  const std::string source = printable(path);
  std::array<uint8_t, 12> start{};
  if (store.size() < 10) throw FormatError(source, "the file is cut inside the .npy header", store.size());
  store.read(0, start.data(), std::min<int64_t>(12, store.size()));
  constexpr uint8_t kMagic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
  if (std::memcmp(start.data(), kMagic, 6) != 0)
    throw FormatError(source, "does not begin with the .npy magic", 0);
  const int version = start[6];
  if (version < 1 || version > 3 || start[7] != 0) {
    throw FormatError(
        source, text(".npy version ", version, ".", static_cast<int>(start[7]), ", expected 1.0, 2.0 or 3.0"),
        6);
  }
  int64_t header_bytes = start[8] | start[9] << 8;
  int64_t header_offset = 10;
  if (version > 1) {
    if (store.size() < 12) throw FormatError(source, "the file is cut inside the .npy header", store.size());
    header_bytes |= static_cast<int64_t>(start[10]) << 16 | static_cast<int64_t>(start[11]) << 24;
    header_offset = 12;
  }
  if (header_bytes > kMaxHeaderBytes || header_bytes > store.size() - header_offset) {
    throw FormatError(source,
                      text("a .npy header of ", header_bytes, " bytes, expected at most ",
                           std::min(kMaxHeaderBytes, store.size() - header_offset)),
                      8);
  }
  std::string words(static_cast<size_t>(header_bytes), '\0');
  store.read(header_offset, words.data(), header_bytes);
  NpyHeader header;
  DictParser(words, source, header_offset).parse(header);
  header.data_offset = header_offset + header_bytes;
  if (header.type.size() != 3 || header.type[2] < '1' || header.type[2] > '8') {
    throw FormatError(source, text("type ", printable(header.type), ", expected integers"), header_offset);
  }
  header.item_bytes = header.type[2] - '0';
  int64_t bytes = header.item_bytes;
  bool overflow = false;
  for (const int64_t extent : header.shape) overflow |= __builtin_mul_overflow(bytes, extent, &bytes);
  const int64_t available = store.size() - header.data_offset;
  if (overflow || bytes != available) {
    throw FormatError(source, text(available, " bytes follow the header, not what its shape says"),
                      header.data_offset);
  }
  return header;
}

std::vector<int64_t> read_npy_integers(const ByteStore& store, const std::string& path) {
  const NpyHeader header = read_npy_header(store, path);
  const std::string source = printable(path);
  const char order = header.type[0];
  const char kind = header.type[1];
  const bool is_signed = kind == 'i';
  const bool known = (header.item_bytes == 1 || header.item_bytes == 2 || header.item_bytes == 4 ||
                      header.item_bytes == 8) &&
                     (is_signed || kind == 'u' || (kind == 'b' && header.item_bytes == 1)) &&
                     (order == '<' || (order == '|' && header.item_bytes == 1));
  if (!known) throw FormatError(source, text("type ", printable(header.type), ", expected integers"));
  if (header.shape.size() != 1)
    throw FormatError(source, text("an array of rank ", header.shape.size(), ", expected 1"));
  std::vector<uint8_t> bytes(static_cast<size_t>(header.shape[0] * header.item_bytes));
  store.read(header.data_offset, bytes.data(), static_cast<int64_t>(bytes.size()));
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(header.shape[0]));
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(header.item_bytes)) {
    uint64_t value = 0;
    for (int64_t b = 0; b < header.item_bytes; ++b)
      value |= uint64_t{bytes[at + static_cast<size_t>(b)]} << (8 * b);
    const int64_t unused = 64 - 8 * header.item_bytes;
    values.push_back(is_signed ? static_cast<int64_t>(value << unused) >> unused
                               : static_cast<int64_t>(value));
  }
  return values;
}

}  // namespace panda::data::parts
