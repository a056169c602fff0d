#include "weights/npy.h"

#include "tests/support/temporary_directory.h"
#include "tests/unit/weights/weights_test_tools.h"
#include "tests/unit/weights/zip_builder.h"
#include "weights/manifest.h"
#include "weights/safetensors.h"

namespace panda::weights {
namespace {

using test::golden;

std::string npy_with(const std::string& literal, const std::string& data, char major = 1) {
  std::string file = "\x93NUMPY";
  file += major;
  file += '\0';
  file += test::le(literal.size(), major == 1 ? 2 : 4);
  return file + literal + data;
}

Tensor read_text(const std::string& file) {
  return read_npy(buffer_source(test::to_bytes(file), "t.npy"));
}

TEST(Npy, ReadsEveryOrderAndVersionOfTheSameArray) {
  for (const char* name :
       {"f4.npy", "f4_fortran.npy", "f4_big.npy", "f4_big_fortran.npy", "f4_v2.npy", "f4_v3.npy"}) {
    SCOPED_TRACE(name);
    const Tensor array = read_npy(golden(name));
    ASSERT_EQ(array.shape(), (Shape{2, 3, 4}));
    for (int i = 0; i < 24; ++i) EXPECT_EQ(array.data<float>()[i], static_cast<float>(i) / 7) << i;
  }
  EXPECT_EQ(read_npy(golden("scalar.npy")).data<double>()[0], 1.0 / 3);
}

TEST(Npy, WidensUnsignedIntegersWithoutLoss) {
  for (const char* name : {"u2.npy", "u2_big.npy"}) {
    const Tensor array = read_npy(golden(name));
    EXPECT_EQ(std::vector<int32_t>(array.data<int32_t>(), array.data<int32_t>() + 3),
              (std::vector<int32_t>{0, 65535, 258}));
  }
  EXPECT_EQ(read_npy(golden("u4.npy")).data<int64_t>()[1], 4294967295);
  EXPECT_EQ(npy_info(file_source(golden("u4.npy"))).dtype, DType::kI64);
}

TEST(Npy, RefusesOtherKindsByName) {
  EXPECT_ERROR_CONTAINS(read_npy(golden("u8.npy")), "dtype '<u8'");
  EXPECT_ERROR_CONTAINS(read_npy(golden("complex.npy")), "dtype '<c16'");
  EXPECT_ERROR_CONTAINS(read_npy(golden("text.npy")), "dtype '<U1'");
  EXPECT_ERROR_CONTAINS(read_npy(golden("structure.npy")), "array of structures");
  EXPECT_ERROR_CONTAINS(read_npy(golden("harmful_objects.npy")), "Python objects");
  EXPECT_ERROR_CONTAINS(open_npz(golden("harmful_objects.npz")), "Python objects");
}

TEST(Npy, RoundTripIsBitExactAndWritesNumPysBytes) {
  const panda::test::TemporaryDirectory folder;
  for (const DType dtype : test::kAllDTypes) {
    if (dtype == DType::kBF16) continue;
    for (const Shape& shape :
         {Shape{}, Shape{0}, Shape{5}, Shape{2, 3}, Shape{3, 0, 2}, Shape{1, 2, 1, 2, 1, 2, 1, 2}}) {
      const Tensor tensor = test::random_bits(dtype, shape, 3);
      write_npy(folder.path("a.npy"), tensor);
      test::expect_same(read_npy(folder.path("a.npy")), tensor);
      const std::vector<uint8_t> bytes = read_file(folder.path("a.npy"));
      EXPECT_EQ((bytes.size() - static_cast<size_t>(tensor.bytes())) % 64, 0U);
    }
  }
  for (const char* name : {"f4.npy", "scalar.npy"}) {
    write_npy(folder.path("same.npy"), read_npy(golden(name)));
    EXPECT_EQ(read_file(folder.path("same.npy")), test::golden_bytes(name));
  }
  EXPECT_ERROR_CONTAINS(write_npy(folder.path("b.npy"), test::random_bits(DType::kBF16, {2}, 1)),
                        "no dtype for bf16");
  EXPECT_FALSE(path_exists(folder.path("b.npy")));
}

TEST(Npy, WritesByPartsWhatItWritesAtOnce) {
  const panda::test::TemporaryDirectory folder;
  const Tensor tensor = test::random_bits(DType::kI64, {10, 3}, 4);
  write_npy(folder.path("once.npy"), tensor);
  {
    NpyWriter writer(folder.path("parts.npy"), DType::kI64, {10, 3});
    for (const auto& [begin, end] : {std::pair(0, 4), {4, 4}, {4, 10}})
      writer.append(tensor.view().rows(begin, end));
    EXPECT_FALSE(path_exists(folder.path("parts.npy")));
    writer.commit();
  }
  EXPECT_EQ(read_file(folder.path("parts.npy")), read_file(folder.path("once.npy")));
  {
    NpyWriter writer(folder.path("left.npy"), DType::kI64, {10, 3});
    writer.append(tensor.view().rows(0, 4));
    EXPECT_THROW(writer.append(tensor), InternalError);
    EXPECT_THROW(writer.commit(), InternalError);
  }
  EXPECT_EQ(list_directory(folder.path()), (std::vector<std::string>{"once.npy", "parts.npy"}));
}

TEST(Npy, EachBrokenHeaderIsAnErrorThatSaysWhich) {
  const std::string data(24, '\0');
  EXPECT_NO_THROW(
      (void)read_text(npy_with("{'shape': (2L, 3), \"descr\": '<f4', 'fortran_order': False}\n", data)));
  struct Case {
    const char* literal;
    const char* part;
  };
  const Case cases[] = {
      {"", "expected '{'"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }x", "bytes after the header's"},
      {"{'descr': '<f4', 'fortran_order': False, }", "lacks descr, fortran_order or shape"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", "'descr' stands twice"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': 1}", "unknown key 'x'"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (6,)}", "neither True nor False"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (6)}", "no tuple"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': [6]}", "expected '('"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-6,)}", "expected a size >= 0"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (6.0,)}", "no tuple"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (6, 1.0)}", "expected ')'"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "beyond 64 bits"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", "overflow"},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693952,)}",
       "24 bytes of data, expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,6)}", "more than 8 dimensions"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (5,)}",
       "24 bytes of data, expected 5 elements of 4"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (7,)}",
       "24 bytes of data, expected 7 elements of 4"},
      {"{'descr': '|f4', 'fortran_order': False, 'shape': (6,)}", "without byte order"},
      {"{'descr': 'f4', 'fortran_order': False, 'shape': (6,)}", "dtype 'f4'"},
      {"{'descr': '<f\\x34', 'fortran_order': False, 'shape': (6,)}", "an escape"},
      {"{'descr': '<f4, 'fortran_order': False, 'shape': (6,)}", "dtype '<f4, '"},
      {"{'descr': '<f4", "without end"},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", "Python objects"},
  };
  for (const Case& entry : cases) {
    SCOPED_TRACE(entry.literal);
    EXPECT_ERROR_CONTAINS(read_text(npy_with(entry.literal, data)), entry.part);
  }
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n";
  EXPECT_ERROR_CONTAINS(read_text(npy_with(good, data, 4)), "format 4.0, expected");
  EXPECT_ERROR_CONTAINS(read_text("\x93NUMPX" + npy_with(good, data).substr(6)), "does not begin with");
  std::string huge = npy_with(good, data, 2);
  huge.replace(8, 4, "\xff\xff\xff\xff");
  EXPECT_ERROR_CONTAINS(read_text(huge), "header of 4294967295 bytes");
  EXPECT_ERROR_CONTAINS(read_text(npy_with(good + std::string(20'000, ' '), data)), "and 10000 are allowed");
  EXPECT_ERROR_CONTAINS(read_text(npy_with("{'descr': '|b1', 'fortran_order': False, 'shape': (24,)}",
                                           std::string(24, '\x02'))),
                        "has the byte 2 at [0]");
}

TEST(Npz, HoldsTheSameTensorsAsSafetensors) {
  const SafetensorsFile expected(golden("state.safetensors"));
  for (const char* name : {"state.npz", "state_compressed.npz"}) {
    SCOPED_TRACE(name);
    const auto got = open_npz(golden(name));
    EXPECT_EQ(got->list().size() + 1, expected.list().size()) << "NumPy has no bf16";
    for (const TensorInfo& info : got->list())
      test::expect_same(got->load(info.name), expected.load(info.name));
    EXPECT_FALSE(got->contains("bf16"));
    EXPECT_ERROR_CONTAINS(got->load("x"), "has no array 'x'");
  }
}

TEST(Npz, RefusesStrangers) {
  const auto open = [](const std::vector<test::ZipPart>& parts) {
    return open_npz(buffer_source(test::build_zip(parts), "t.npz"));
  };
  EXPECT_ERROR_CONTAINS(open({test::stored_part("readme.txt", "hello")}), "member 'readme.txt' is no .npy");
  EXPECT_ERROR_CONTAINS(open({test::stored_part("a.npy", "hello")}), "a.npy: npy: has 5 bytes");
  const std::string array = npy_with("{'descr': '<f4', 'fortran_order': False, 'shape': (250000,), }\n",
                                     std::string(1'000'000, '\0'));
  const auto good = open({test::deflated_part("a.npy", array)});
  EXPECT_EQ(good->load("a").numel(), 250'000);
  test::ZipPart damaged = test::deflated_part("a.npy", array);
  damaged.stored[damaged.stored.size() / 2] ^= 0x55;
  EXPECT_NE(test::error_of([&] { (void)open({damaged})->load("a"); }), "");
}

}  // namespace
}  // namespace panda::weights
