#include "weights/safetensors.h"

#include <cmath>
#include <limits>

#include "tests/support/temporary_directory.h"
#include "tests/unit/weights/weights_test_tools.h"
#include "weights/tensor_values.h"

namespace panda::weights {
namespace {

using test::bytes_of;
using test::error_of;
using test::to_bytes;

/// A file with this header (length prefix added) and this many zero bytes of data.
std::vector<uint8_t> file_with(const std::string& header, size_t data_bytes) {
  std::vector<uint8_t> bytes(8);
  store_le64(header.size(), bytes.data());
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.resize(bytes.size() + data_bytes);
  return bytes;
}

SafetensorsFile open_bytes(const std::vector<uint8_t>& bytes) {
  return SafetensorsFile(buffer_source(bytes, "test.safetensors"));
}

std::string refusal(const std::string& header, size_t data_bytes) {
  return error_of([&] { (void)open_bytes(file_with(header, data_bytes)); });
}

TEST(Safetensors, RoundTripIsBitExactForEveryDType) {
  const panda::test::TemporaryDirectory folder;
  std::vector<Tensor> tensors;
  std::vector<NamedView> views;
  const Shape shapes[] = {Shape{},
                          Shape{0},
                          Shape{1},
                          Shape{7},
                          Shape{3, 0, 2},
                          Shape{2, 3, 5, 7},
                          Shape{1, 1, 1, 1, 1, 1, 1, 2}};
  for (const DType dtype : test::kAllDTypes) {
    for (const Shape& shape : shapes) {
      tensors.push_back(test::random_bits(dtype, shape, tensors.size()));
      views.push_back({text(dtype_name(dtype), ".", shape), tensors.back()});
    }
  }
  const Metadata metadata = {{"format", "pt"}, {"quote\"\\", "line\nbreak \xc3\xa9"}, {"", ""}};
  write_safetensors(folder.path("a"), views, metadata);
  const SafetensorsFile file(folder.path("a"));
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.list().size(), views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    SCOPED_TRACE(views[i].name);
    ASSERT_TRUE(file.contains(views[i].name));
    test::expect_same(file.load(views[i].name), views[i].tensor);
  }
  EXPECT_FALSE(file.contains("nothing"));
  EXPECT_ERROR_CONTAINS(file.load("nothing"), "has no tensor 'nothing'");
}

TEST(Safetensors, SameInputGivesSameBytesInAnyOrder) {
  const panda::test::TemporaryDirectory folder;
  const Tensor a = test::random_bits(DType::kF16, {3}, 1);
  const Tensor b = test::random_bits(DType::kI64, {2}, 2);
  const Tensor c = test::random_bits(DType::kF16, {4}, 3);
  write_safetensors(folder.path("x"), {{"a", a}, {"b", b}, {"c", c}});
  write_safetensors(folder.path("y"), {{"c", c}, {"b", b}, {"a", a}});
  const std::vector<uint8_t> bytes = read_file(folder.path("x"));
  EXPECT_EQ(bytes, read_file(folder.path("y")));
  EXPECT_EQ((8 + load_le64(bytes.data())) % 8, 0U) << "data must be 8-byte aligned";
}

TEST(Safetensors, WriterLeavesNothingWithoutCommit) {
  const panda::test::TemporaryDirectory folder;
  const Tensor a = test::random_bits(DType::kF32, {3}, 1);
  {
    SafetensorsWriter writer(folder.path("x"), {{"a", DType::kF32, {3}}, {"b", DType::kF32, {3}}});
    writer.write(a);
    EXPECT_ERROR_CONTAINS(writer.commit(), "1 of 2 announced");
    EXPECT_ERROR_CONTAINS(writer.write(a.reshaped({3, 1})), "'b' was announced as f32 3");
  }
  EXPECT_TRUE(list_directory(folder.path()).empty());
  EXPECT_ERROR_CONTAINS(write_safetensors(folder.path("x"), {{"a", a}, {"a", a}}),
                        "two tensors are named 'a'");
  EXPECT_ERROR_CONTAINS(write_safetensors(folder.path("x"), {{"\xff", a}}), "not UTF-8");
  EXPECT_ERROR_CONTAINS(write_safetensors(folder.path("x"), {{"__metadata__", a}}), "__metadata__");
  EXPECT_TRUE(list_directory(folder.path()).empty());
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  EXPECT_TRUE(open_bytes(file_with("{}", 0)).list().empty());
  EXPECT_TRUE(open_bytes(file_with(" \n{\"__metadata__\":{}}  ", 0)).list().empty());
  // Empty tensors may share an offset, a scalar has one element.
  const SafetensorsFile file = open_bytes(file_with(
      R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[5,0],"data_offsets":[0,0]},)"
      R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"z":{"shape":[0],"data_offsets":[4,4],"dtype":"BOOL"}})",
      4));
  EXPECT_EQ(file.list().size(), 4U);
  EXPECT_EQ(file.load("s").numel(), 1);
  EXPECT_EQ(file.load("b").shape(), (Shape{5, 0}));
}

TEST(Safetensors, EachBrokenRuleIsAnErrorThatSaysWhich) {
  struct Case {
    const char* header;
    size_t data_bytes;
    const char* part;
  };
  const Case cases[] = {
      {R"()", 0, "does not begin with '{'"},
      {R"([])", 0, "does not begin with '{'"},
      {"\xef\xbb\xbf{}", 0, "does not begin with '{'"},
      {R"({)", 0, "no valid JSON"},
      {R"({}})", 0, "no valid JSON"},
      {R"({"a":})", 0, "no valid JSON"},
      {"{\"\xff\":1}", 0, "no valid JSON"},
      {R"({"a":1})", 0, "got a number, expected an object"},
      {R"({"a":null})", 0, "got null"},
      {R"({"a":[]})", 0, "got an array"},
      {R"({"__metadata__":{"a":1}})", 0, "__metadata__, 'a': got a number, expected a string"},
      {R"({"__metadata__":{"a":{}}})", 0, "got an object, expected a string"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", 0, "has the key 'a' twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "'__metadata__' stands twice"},
      {R"({"a":{}})", 0, "has no dtype"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "has no data_offsets"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "has no shape"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "'dtype' stands twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "unknown key 'x'"},
      {R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", 4, "got a number, expected a string"},
      {R"({"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}})", 4, "got an array, expected a string"},
      {R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype 'F33'"},
      {R"({"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}})", 4, "tensor 'a' has dtype F8_E4M3"},
      {R"({"a":{"dtype":"U32","shape":[1],"data_offsets":[0,4]}})", 4, "tensor 'a' has dtype U32"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "expected an array of integers"},
      {R"({"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4,
       "got a string, expected an array of integers"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "got an array"},
      {R"({"a":{"dtype":"F32","shape":[{}],"data_offsets":[0,4]}})", 4, "got an object"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "no 64-bit integer"},
      {R"({"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}})", 4, "no 64-bit integer"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551617],"data_offsets":[0,4]}})", 4,
       "no 64-bit integer"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})", 4, "too large"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4, "overflow"},
      {R"({"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", 0, "overflow"},
      {R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0,
       "has 0 bytes, expected those"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
       "at most 8 dimensions"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
       "has 4 bytes, expected those of f32 2"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "has 3 numbers, expected 2"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3, "ends at data byte 4, the file has 3"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5, "1 bytes after the last tensor"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "a hole before it"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 8, "begins at data byte 4"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807]}})", 4,
       "bytes, expected those of f32 1"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "'a' stands twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
       6, "it overlaps the one before"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       4, "it overlaps the one before"},
  };
  for (const Case& entry : cases) {
    const std::string message = refusal(entry.header, entry.data_bytes);
    EXPECT_NE(message.find(entry.part), std::string::npos)
        << entry.header << " gave '" << message << "', expected " << entry.part;
    EXPECT_EQ(message.rfind("test.safetensors: ", 0), 0U) << message;
  }
}

TEST(Safetensors, ErrorsInTheHeaderCarryTheirByteOffset) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})";
  try {
    (void)open_bytes(file_with(header, 4));
    FAIL() << "no error";
  } catch (const FormatError& error) {
    const auto at = static_cast<int64_t>(8 + header.find("-1") + 2);  // the parser has read the number
    EXPECT_LE(std::abs(error.byte_offset() - at), 1) << error.what();
  }
}

TEST(Safetensors, ANulByteDoesNotEndTheHeader) {
  const std::string header = "{}";
  EXPECT_EQ(refusal(header + "   ", 0), "");
  EXPECT_NE(refusal(header + std::string(1, '\0') + "  ", 0).find("NUL byte (byte 10)"), std::string::npos);
  EXPECT_NE(refusal(header + std::string(1, '\0') + "garbage", 0), "");
}

TEST(Safetensors, DeepNestingIsRefusedAtOnce) {
  std::string header = "{\"a\":";
  for (int i = 0; i < 1'000'000; ++i) header += "[";
  EXPECT_NE(refusal(header, 0), "");
  header = "{\"a\":";
  for (int i = 0; i < 100'000; ++i) header += "{\"a\":";
  EXPECT_NE(refusal(header, 0), "");
}

TEST(Safetensors, HeaderLengthIsCheckedBeforeAllocating) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{100'000'000}, uint64_t{100'000'001}, uint64_t{1} << 32,
                                uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7}) {
    std::vector<uint8_t> bytes = file_with("{}", 0);
    store_le64(length, bytes.data());
    EXPECT_ERROR_CONTAINS(open_bytes(bytes), "header of");
  }
  for (size_t size = 0; size < 8; ++size)
    EXPECT_ERROR_CONTAINS(open_bytes(std::vector<uint8_t>(size)), "expected a safetensors file");
}

TEST(Safetensors, BoolBytesOtherThanZeroAndOneAreRefused) {
  std::vector<uint8_t> bytes = file_with(R"({"a":{"dtype":"BOOL","shape":[2,2],"data_offsets":[0,4]}})", 4);
  bytes.back() = 2;
  const SafetensorsFile file = open_bytes(bytes);
  EXPECT_ERROR_CONTAINS(file.load("a"), "has the byte 2 at [1, 1]");
}

TEST(ToDType, RoundsOnceToNearestEven) {
  // 1 + 2^-11 + 2^-40 lies above the middle of two halves; through f32 it would be seen as the middle and go
  // to even (1).
  const double above_middle = 1 + 0x1p-11 + 0x1p-40;
  const double values[] = {above_middle,      1 + 0x1p-11,     -above_middle, 0x1p-25,
                           0x1p-25 + 0x1p-70, 65519.999999999, 1e-300,        -0.0};
  const Tensor source = Tensor::from<double>({8}, values);
  const Tensor halves = to_dtype(source, DType::kF16);
  const double expected[] = {1 + 0x1p-10, 1, -1 - 0x1p-10, 0, 0x1p-24, 65504, 0, -0.0};
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(static_cast<double>(to_float(halves.data<Float16>()[i])), expected[i]) << i;
    EXPECT_EQ(std::signbit(to_float(halves.data<Float16>()[i])), std::signbit(expected[i])) << i;
  }
  const double bf[] = {1 + 0x1p-8 + 0x1p-45, 1 + 0x1p-8, 1e-300, -1 - 0x1p-8 - 0x1p-45};
  const Tensor brain = to_dtype(Tensor::from<double>({4}, bf), DType::kBF16);
  const double expected_brain[] = {1 + 0x1p-7, 1, 0, -1 - 0x1p-7};
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(static_cast<double>(to_float(brain.data<BFloat16>()[i])), expected_brain[i]) << i;
}

TEST(ToDType, EveryHalfSurvivesTheWayUpAndBack) {
  for (const DType narrow : {DType::kF16, DType::kBF16}) {
    Tensor all(host(), narrow, {65536}, "test");
    auto* bits = static_cast<uint16_t*>(all.view().raw());
    for (int i = 0; i < 65536; ++i) bits[i] = static_cast<uint16_t>(i);
    for (const DType wide : {DType::kF32, DType::kF64}) {
      const Tensor back = to_dtype(to_dtype(all, wide), narrow);
      const auto* got = static_cast<const uint16_t*>(back.view().raw());
      const uint16_t infinity = narrow == DType::kF16 ? 0x7c00 : 0x7f80;
      const uint16_t quiet = narrow == DType::kF16 ? 0x200 : 0x40;
      for (int i = 0; i < 65536; ++i) {
        const bool is_nan = (i & 0x7fff) > infinity;  // a signalling NaN comes back quiet
        ASSERT_EQ(got[i], is_nan ? (i | quiet) : i) << dtype_name(narrow) << " through " << dtype_name(wide);
      }
    }
  }
}

TEST(ToDType, OverflowNamesTensorAndIndex) {
  const float values[] = {1, 2, 3, 65520};
  const Tensor source = Tensor::from<float>({2, 2}, values);
  EXPECT_ERROR_CONTAINS(to_dtype(source, DType::kF16, "fc.weight"),
                        "'fc.weight' [1, 1]: 65520 overflows f16");
  EXPECT_EQ(to_float(to_dtype(source, DType::kBF16).data<BFloat16>()[3]), 65536.0F);
  const double large[] = {1e39};
  EXPECT_ERROR_CONTAINS(to_dtype(Tensor::from<double>({1}, large), DType::kF32, "x"), "overflows f32");
  EXPECT_ERROR_CONTAINS(to_dtype(Tensor::from<double>({1}, large), DType::kBF16, "x"), "overflows bf16");
  const double special[] = {std::numeric_limits<double>::infinity(), std::nan("")};
  const Tensor kept = to_dtype(Tensor::from<double>({2}, special), DType::kF16);
  EXPECT_TRUE(std::isinf(to_float(kept.data<Float16>()[0])));
  EXPECT_TRUE(std::isnan(to_float(kept.data<Float16>()[1])));
  EXPECT_ERROR_CONTAINS(to_dtype(test::random_bits(DType::kI64, {1}, 1), DType::kF32, "n"),
                        "converts to no other dtype");
}

TEST(CheckFinite, NamesTensorAndIndex) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16}) {
    Tensor zeros(host(), dtype, {2, 3}, "test");
    host().fill(zeros.view().raw(), 0, zeros.bytes());
    EXPECT_NO_THROW(check_finite(zeros, "w"));
    auto* last = static_cast<uint8_t*>(zeros.view().raw()) + zeros.bytes();
    std::memset(last - dtype_bytes(dtype), 0x7f,
                static_cast<size_t>(dtype_bytes(dtype)));  // 0x7f7f..: finite but in f16
    if (dtype != DType::kF16) last[-2] = 0xff;
    EXPECT_ERROR_CONTAINS(check_finite(zeros, "w"), "'w' [1, 2] is NaN");
  }
  EXPECT_NO_THROW(check_finite(test::random_bits(DType::kI64, {9}, 1), "n"));
}

}  // namespace
}  // namespace panda::weights
