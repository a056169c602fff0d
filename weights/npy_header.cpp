#include "weights/npy_header.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

struct DescrFacts {
  const char* code;
  DType dtype;
  bool widen_unsigned;
};

constexpr std::array<DescrFacts, 11> kDescrs = {{{"f8", DType::kF64, false},
                                                 {"f4", DType::kF32, false},
                                                 {"f2", DType::kF16, false},
                                                 {"i8", DType::kI64, false},
                                                 {"i4", DType::kI32, false},
                                                 {"i2", DType::kI16, false},
                                                 {"i1", DType::kI8, false},
                                                 {"u1", DType::kU8, false},
                                                 {"b1", DType::kBool, false},
                                                 {"u2", DType::kI32, true},
                                                 {"u4", DType::kI64, true}}};

class LiteralParser {
 public:
  LiteralParser(const std::string& literal, int64_t offset, const std::string& source)
      : literal_(literal), offset_(offset), source_(source) {}

  NpyHeader parse() {
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        once(&has_descr_, key);
        descr();
      } else if (key == "fortran_order") {
        once(&has_order_, key);
        header_.fortran_order = truth();
      } else if (key == "shape") {
        once(&has_shape_, key);
        shape();
      } else {
        fail(text("unknown key '", printable(key), "'"));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip();
    if (at_ != literal_.size()) fail("bytes after the header's '}'");
    if (!has_descr_ || !has_order_ || !has_shape_) fail("the header lacks descr, fortran_order or shape");
    return header_;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(source_, "npy: " + what, offset_ + static_cast<int64_t>(at_));
  }
  void skip() {
    while (at_ < literal_.size() && (literal_[at_] == ' ' || literal_[at_] == '\n')) ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ >= literal_.size() || literal_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(text("expected '", c, "' in the header"));
  }
  void once(bool* seen, const std::string& key) {
    if (std::exchange(*seen, true)) fail(text("the key '", key, "' stands twice"));
  }
  std::string quoted() {
    skip();
    const char quote = at_ < literal_.size() ? literal_[at_] : '\0';
    if (quote != '\'' && quote != '"') fail("expected a quoted name in the header");
    const size_t end = literal_.find(quote, at_ + 1);
    if (end == std::string::npos) fail("a quoted name without end");
    std::string result = literal_.substr(at_ + 1, end - at_ - 1);
    if (result.find('\\') != std::string::npos) fail("an escape in a name");
    at_ = end + 1;
    return result;
  }
  bool truth() {
    skip();
    for (const auto& [word, value] : {std::pair("True", true), std::pair("False", false)}) {
      const std::string wanted = word;
      if (literal_.compare(at_, wanted.size(), wanted) == 0) {
        at_ += wanted.size();
        return value;
      }
    }
    fail("fortran_order is neither True nor False");
  }
  int64_t integer() {
    skip();
    int64_t value = 0;
    const size_t first = at_;
    for (; at_ < literal_.size() && literal_[at_] >= '0' && literal_[at_] <= '9'; ++at_) {
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, literal_[at_] - '0', &value))
        fail("a size beyond 64 bits");
    }
    if (at_ == first) fail("expected a size >= 0 in the shape");
    if (at_ < literal_.size() && literal_[at_] == 'L') ++at_;  // Python 2 wrote it so
    return value;
  }
  void shape() {
    expect('(');
    std::vector<int64_t> extents;
    while (!accept(')')) {
      if (extents.size() >= Shape::kMaxRank) fail(text("more than ", Shape::kMaxRank, " dimensions"));
      extents.push_back(integer());
      if (!accept(',')) {
        if (extents.size() == 1) fail("a shape that is no tuple");  // (3) is a number in Python
        expect(')');
        break;
      }
    }
    try {
      header_.shape = Shape(extents);
    } catch (const InvalidArgument& error) {
      fail(error.what());
    }
  }
  void descr() {
    skip();
    if (at_ < literal_.size() && literal_[at_] == '[')
      throw Unsupported(text(source_, ": npy: an array of structures; read are plain numbers"));
    const std::string code = quoted();
    if (code.find('O') != std::string::npos)
      throw Unsupported(text(source_, ": npy: an array of Python objects (a pickle); never read"));
    const char order = code.empty() ? '\0' : code[0];
    const std::string kind = code.empty() ? "" : code.substr(1);
    if (order == '<' || order == '>' || order == '|' || order == '=') {
      for (const DescrFacts& facts : kDescrs) {
        if (kind != facts.code) continue;
        header_.dtype = facts.dtype;
        header_.item_bytes = kind[1] - '0';
        header_.widen_unsigned = facts.widen_unsigned;
        header_.big_endian = order == '>';
        if (order == '|' && header_.item_bytes != 1)
          fail(text("dtype '", printable(code), "' without byte order"));
        return;
      }
    }
    throw Unsupported(text(source_, ": npy: dtype '", printable(code.substr(0, 40)),
                           "'; read are f8 f4 f2 i8 i4 i2 i1 u1 u2 u4 b1"));
  }

  const std::string& literal_;
  int64_t offset_;
  const std::string& source_;
  size_t at_ = 0;
  NpyHeader header_;
  bool has_descr_ = false;
  bool has_order_ = false;
  bool has_shape_ = false;
};

}  // namespace

NpyHeader parse_npy_header(const std::string& literal, int64_t offset, const std::string& source) {
  return LiteralParser(literal, offset, source).parse();
}

std::string make_npy_header(DType dtype, const Shape& shape) {
  const auto facts = std::find_if(kDescrs.begin(), kDescrs.end(),
                                  [&](const DescrFacts& f) { return f.dtype == dtype && !f.widen_unsigned; });
  if (facts == kDescrs.end())
    throw Unsupported(text("NumPy has no dtype for ", dtype_name(dtype), "; convert to f32 first"));
  std::string header = text("{'descr': '", dtype_bytes(dtype) == 1 ? '|' : '<', facts->code,
                            "', 'fortran_order': False, 'shape': (");
  for (int i = 0; i < shape.rank(); ++i) header += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  header += shape.rank() == 1 ? ",), }" : "), }";
  // NumPy leaves room for the first extent to grow to 21 digits.
  if (shape.rank() > 0) header += std::string(21 - std::to_string(shape[0]).size(), ' ');
  constexpr size_t kPreamble = 10;
  constexpr size_t kAlignment = 64;
  const size_t used = kPreamble + header.size() + 1;
  header += std::string((kAlignment - used % kAlignment) % kAlignment, ' ');
  return header + "\n";
}

}  // namespace panda::weights
