#include "weights/safetensors_header.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

constexpr size_t kMaxEntries =
    1'000'000;  // tensors plus metadata; bounds memory to a few hundred bytes per entry

constexpr std::array<std::pair<const char*, DType>, 10> kDTypes = {{{"F64", DType::kF64},
                                                                    {"F32", DType::kF32},
                                                                    {"F16", DType::kF16},
                                                                    {"BF16", DType::kBF16},
                                                                    {"I64", DType::kI64},
                                                                    {"I32", DType::kI32},
                                                                    {"I16", DType::kI16},
                                                                    {"I8", DType::kI8},
                                                                    {"U8", DType::kU8},
                                                                    {"BOOL", DType::kBool}}};
// Dtypes that the format defines and tensors here do not have.
constexpr std::array<const char*, 11> kUnsupportedDTypes = {
    "U16", "U32", "U64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4", "C64", "F8_E4M3FNUZ"};

/// Walks bytes and records how far the parser has come: nlohmann's events carry no position.
class CountingIterator {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at_ == b.at_; }
  friend bool operator!=(const CountingIterator& a, const CountingIterator& b) { return !(a == b); }

 private:
  const char* at_;
  const char** furthest_;
};

std::string clipped(const std::string& raw) {
  constexpr size_t kShown = 80;
  return printable(raw.size() <= kShown ? raw : raw.substr(0, kShown) + "...");
}

class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderHandler(const std::string& source, const char* begin, int64_t offset)
      : source_(source), begin_(begin), furthest_(begin), offset_(offset) {}

  [[nodiscard]] const char** furthest() { return &furthest_; }
  [[nodiscard]] SafetensorsHeader take() { return std::move(header_); }

  bool null() override { wrong_value("null"); }
  bool boolean(bool) override { wrong_value("a truth value"); }
  bool number_integer(number_integer_t) override { wrong_value("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    wrong_value("a number that is no 64-bit integer");
  }
  bool binary(binary_t&) override { wrong_value("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (numbers_ == nullptr) wrong_value("a number");
    if (value > static_cast<uint64_t>(INT64_MAX)) fail(text(where(), ": ", value, " is too large"));
    if (numbers_->size() >= 64) fail(text(where(), ": more than 64 numbers"));
    numbers_->push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      header_.metadata[key_] = value;
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype") wrong_value("a string");
    dtype_ = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (numbers_ != nullptr) wrong_value("an object");
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kTop;
        return true;
      case Place::kTop:
        place_ = key_ == "__metadata__" ? Place::kMetadata : Place::kTensor;
        if (place_ == Place::kTensor) begin_tensor();
        return true;
      default:
        wrong_value("an object");
    }
  }

  bool end_object() override {
    if (place_ == Place::kTensor) end_tensor();
    place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
    return true;
  }

  bool key(string_t& value) override {
    if (place_ == Place::kTop) {
      if (!names_.insert(value).second)
        fail(text("the name '", clipped(value), "' stands twice in the header"));
      count_entry();
    } else if (place_ == Place::kMetadata) {
      if (header_.metadata.count(value) != 0)
        fail(text("__metadata__ has the key '", clipped(value), "' twice"));
      count_entry();
    } else {
      begin_field(value);
    }
    key_ = value;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::kTensor || numbers_ != nullptr || key_ == "dtype") wrong_value("an array");
    numbers_ = key_ == "shape" ? &shape_ : &offsets_;
    return true;
  }

  bool end_array() override {
    numbers_ = nullptr;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception&) override {
    const int64_t at = offset_ + static_cast<int64_t>(position) - (position > 0 ? 1 : 0);
    throw FormatError(source_, text("the header is no valid JSON near '", clipped(last_token), "'"), at);
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor };

  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(source_, what, offset_ + (furthest_ - begin_));
  }

  [[noreturn]] void wrong_value(const char* got) const {
    const char* expected = "an object";
    if (place_ == Place::kMetadata) expected = "a string";
    if (place_ == Place::kTensor) expected = key_ == "dtype" ? "a string" : "an array of integers >= 0";
    fail(text(where(), ": got ", got, ", expected ", expected));
  }

  [[nodiscard]] std::string where() const {
    switch (place_) {
      case Place::kOutside:
        return "header";
      case Place::kTop:
        return text("header, '", clipped(key_), "'");
      case Place::kMetadata:
        return text("__metadata__, '", clipped(key_), "'");
      case Place::kTensor:
        return text("tensor '", clipped(tensor_), "', '", clipped(key_), "'");
    }
    return "header";
  }

  void count_entry() {
    if (++entry_count_ > kMaxEntries) fail(text("the header has more than ", kMaxEntries, " entries"));
  }

  void begin_tensor() {
    tensor_ = key_;
    dtype_.clear();
    shape_.clear();
    offsets_.clear();
    has_dtype_ = has_shape_ = has_offsets_ = false;
  }

  void begin_field(const std::string& field) {
    bool* seen = field == "dtype"          ? &has_dtype_
                 : field == "shape"        ? &has_shape_
                 : field == "data_offsets" ? &has_offsets_
                                           : nullptr;
    if (seen == nullptr)
      fail(text("tensor '", clipped(tensor_), "': unknown key '", clipped(field),
                "', expected dtype, shape, data_offsets"));
    if (std::exchange(*seen, true))
      fail(text("tensor '", clipped(tensor_), "': the key '", field, "' stands twice"));
  }

  void end_tensor() {
    const std::string tensor = text("tensor '", clipped(tensor_), "'");
    if (!has_dtype_ || !has_shape_ || !has_offsets_) {
      fail(text(tensor, " has no ", !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : "data_offsets"));
    }
    if (offsets_.size() != 2)
      fail(text(tensor, ": data_offsets has ", offsets_.size(), " numbers, expected 2"));
    SafetensorsHeader::Entry entry;
    entry.info.name = tensor_;
    entry.info.dtype = dtype_of(tensor);
    try {
      entry.info.shape = Shape(shape_);
    } catch (const InvalidArgument& error) {
      fail(text(tensor, ": ", error.what()));
    }
    entry.begin = offsets_[0];
    entry.end = offsets_[1];
    header_.entries.push_back(std::move(entry));
  }

  [[nodiscard]] DType dtype_of(const std::string& tensor) const {
    for (const auto& [name, dtype] : kDTypes) {
      if (dtype_ == name) return dtype;
    }
    for (const char* name : kUnsupportedDTypes) {
      if (dtype_ == name) {
        throw Unsupported(text(source_, ": ", tensor, " has dtype ", name,
                               "; read are F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL"));
      }
    }
    fail(text(tensor, ": unknown dtype '", clipped(dtype_), "'"));
  }

  const std::string& source_;
  const char* begin_;
  const char* furthest_;
  int64_t offset_;
  SafetensorsHeader header_;
  std::unordered_set<std::string> names_;
  size_t entry_count_ = 0;
  Place place_ = Place::kOutside;
  std::string key_;
  // The tensor being read.
  std::string tensor_;
  std::string dtype_;
  std::vector<int64_t> shape_;
  std::vector<int64_t> offsets_;
  std::vector<int64_t>* numbers_ = nullptr;  // the array being read
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(const std::vector<uint8_t>& json, int64_t offset,
                                           const std::string& source) {
  const char* begin = reinterpret_cast<const char*>(json.data());
  const char* end = begin + json.size();
  const char* first = begin;
  while (first != end && (*first == ' ' || *first == '\n' || *first == '\t' || *first == '\r')) ++first;
  if (first == end || *first != '{')
    throw FormatError(source, "the header does not begin with '{'", offset + (first - begin));
  // The JSON parser takes a NUL for the end of its input, and would accept anything after it.
  const char* const nul = std::find(first, end, '\0');
  if (nul != end) throw FormatError(source, "the header holds a NUL byte", offset + (nul - begin));
  HeaderHandler handler(source, begin, offset);
  const CountingIterator from(begin, handler.furthest());
  const CountingIterator to(end, handler.furthest());
  (void)nlohmann::json::sax_parse(from, to, &handler);  // every refusal throws
  return handler.take();
}

const char* safetensors_dtype_name(DType dtype) {
  for (const auto& [name, entry] : kDTypes) {
    if (entry == dtype) return name;
  }
  PANDA_INTERNAL_ASSERT(false, "dtype ", static_cast<int>(dtype));
  return "";
}

}  // namespace panda::weights
