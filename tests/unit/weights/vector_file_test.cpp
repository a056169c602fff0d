#include "weights/vector_file.h"

#include "tests/support/temporary_directory.h"
#include "tests/unit/weights/weights_test_tools.h"
#include "tests/unit/weights/zip_builder.h"
#include "weights/npy.h"

namespace panda::weights {
namespace {

std::vector<float> floats_of(const Tensor& x) {
  return {x.data<float>(), x.data<float>() + x.numel()};
}

/// Vectors of d = 3: {0, 1, 2}, {10, 11, 12}, ...
std::string fvecs(int count) {
  std::string file;
  for (int i = 0; i < count; ++i) {
    file += test::le(3, 4);
    for (int j = 0; j < 3; ++j) {
      const float value = static_cast<float>(10 * i + j);
      file.append(reinterpret_cast<const char*>(&value), 4);
    }
  }
  return file;
}

VectorFile open_bytes(const std::string& bytes, VectorFormat format) {
  return VectorFile(buffer_source(test::to_bytes(bytes), "v"), format);
}

TEST(VectorFile, ReadsRangesOfEveryFormat) {
  const VectorFile file = open_bytes(fvecs(5), VectorFormat::kFvecs);
  EXPECT_EQ(file.count(), 5);
  EXPECT_EQ(file.d(), 3);
  EXPECT_EQ(floats_of(file.read(1, 3)), (std::vector<float>{10, 11, 12, 20, 21, 22}));
  EXPECT_EQ(file.read(2, 2).shape(), (Shape{0, 3}));

  const std::string bvecs = test::le(2, 4) + "\x01\xff" + test::le(2, 4) + "\x07\x08";
  const Tensor bytes = open_bytes(bvecs, VectorFormat::kBvecs).read(0, 2);
  EXPECT_EQ(std::vector<uint8_t>(bytes.data<uint8_t>(), bytes.data<uint8_t>() + 4),
            (std::vector<uint8_t>{1, 255, 7, 8}));

  const std::string ivecs = test::le(1, 4) + test::le(0xffffffffu, 4);
  EXPECT_EQ(open_bytes(ivecs, VectorFormat::kIvecs).read(0, 1).data<int32_t>()[0], -1);
}

TEST(VectorFile, ReadsNpyByParts) {
  const panda::test::TemporaryDirectory directory;
  const float values[] = {0, 1, 2, 3, 4, 5};
  const std::string path = directory.path("x.npy");
  write_npy(path, Tensor::from<float>({3, 2}, values));
  const VectorFile file(path);
  EXPECT_EQ(file.count(), 3);
  EXPECT_EQ(file.dtype(), DType::kF32);
  EXPECT_EQ(floats_of(file.read(1, 3)), (std::vector<float>{2, 3, 4, 5}));
  write_npy(path, Tensor::from<float>({6}, values));
  EXPECT_ERROR_CONTAINS(VectorFile(path), "an array of shape 6, expected two axes, n,d");
  const double wide[] = {1, 2};
  write_npy(path, Tensor::from<double>({1, 2}, wide));
  EXPECT_ERROR_CONTAINS(VectorFile(path), "vectors of f64, expected f32, f16 or u8");
  const float none[] = {0};
  write_npy(path, Tensor::from<float>({0, INT32_MAX}, none));
  EXPECT_EQ(VectorFile(path).read(0, 0).shape(), (Shape{0, INT32_MAX}));
  write_npy(path, Tensor::from<float>({0, INT64_MAX / 2}, none));
  EXPECT_ERROR_CONTAINS(VectorFile(path),
                        "an array of shape 0x4611686018427387903, expected d <= 2147483647");
}

TEST(VectorFile, NamesWhatIsWrong) {
  EXPECT_ERROR_CONTAINS(vector_format_of("x.csv"),
                        "x.csv: a file of vectors, expected a name that ends in .npy, .fvecs");
  EXPECT_ERROR_CONTAINS(open_bytes("", VectorFormat::kFvecs), "the file is empty");
  EXPECT_ERROR_CONTAINS(open_bytes("ab", VectorFormat::kFvecs),
                        "has 2 bytes, expected a dimension of 4 bytes");
  EXPECT_ERROR_CONTAINS(open_bytes(test::le(0, 4), VectorFormat::kFvecs), "the first vector has d=0");
  EXPECT_ERROR_CONTAINS(open_bytes(test::le(0xfffffff0u, 4), VectorFormat::kFvecs),
                        "the first vector has d=-16");
  const std::string whole = fvecs(3);
  for (size_t size = 1; size < whole.size(); ++size) {
    if (size % 16 == 0) continue;
    EXPECT_ANY_THROW(open_bytes(whole.substr(0, size), VectorFormat::kFvecs)) << size;
  }
  std::string other = whole;
  other[32] = 2;
  EXPECT_ERROR_CONTAINS(open_bytes(other, VectorFormat::kFvecs).read(0, 3),
                        "vector 2 has d=2, expected 3 as in the first");
}

}  // namespace
}  // namespace panda::weights
