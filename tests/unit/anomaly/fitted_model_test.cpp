#include "anomaly/fitted_model.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "tests/support/temporary_directory.h"

namespace panda::anomaly {
namespace {

using Bytes = std::vector<uint8_t>;

TensorBundle small_tensors() {
  const float gallery[] = {1, 2, 3, 4, 5, 6};
  const double scores[] = {0.5, 0.25};
  TensorBundle bundle("test");
  bundle.add("gallery", Tensor::from<float>({3, 2}, gallery));
  bundle.add("calibration_scores", Tensor::from<double>({2}, scores));
  return bundle;
}

Bytes small_model(const test::TemporaryDirectory& directory) {
  const std::string path = directory.path("model");
  write_fitted_model(path, "dn2", {{"option.k", "2"}, {"option.scale", "0.1"}}, small_tensors());
  return read_file(path);
}

FittedModelFile open_bytes(const Bytes& bytes) {
  return FittedModelFile(weights::buffer_source(bytes, "model"));
}

std::string failure_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no FormatError";
}

std::string failure_of(const Bytes& bytes) {
  return failure_of([&] { static_cast<void>(open_bytes(bytes)); });
}

TEST(FittedModel, ReadsBackWhatWasWritten) {
  const test::TemporaryDirectory directory;
  const FittedModelFile file = open_bytes(small_model(directory));
  EXPECT_EQ(file.method(), "dn2");
  EXPECT_EQ(file.integer_field("option.k", 1, 10), 2);
  EXPECT_EQ(file.real_field("option.scale"), 0.1);
  const Tensor gallery = file.load("gallery", DType::kF32, 2);
  EXPECT_EQ(gallery.shape(), (Shape{3, 2}));
  EXPECT_EQ(gallery.data<float>()[5], 6);
  EXPECT_EQ(file.load("calibration_scores", DType::kF64, 1).data<double>()[1], 0.25);
}

TEST(FittedModel, HasTheSameBytesForTheSameContent) {
  const test::TemporaryDirectory directory;
  EXPECT_EQ(small_model(directory), small_model(directory));
}

TEST(FittedModel, RefusesAFileCutAnywhere) {
  const test::TemporaryDirectory directory;
  const Bytes whole = small_model(directory);
  for (size_t size = 0; size < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_NE(failure_of(cut), "no FormatError") << "cut at byte " << size;
  }
  Bytes longer = whole;
  longer.push_back(0);
  EXPECT_NE(failure_of(longer), "no FormatError");
}

TEST(FittedModel, RefusesEveryFlippedBit) {
  const test::TemporaryDirectory directory;
  const Bytes whole = small_model(directory);
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    // Unsupported: a dtype's name may become another one.
    try {
      static_cast<void>(open_bytes(flipped));
      FAIL() << "bit " << bit % 8 << " of byte " << bit / 8;
    } catch (const FormatError&) {
    } catch (const Unsupported&) {
    }
  }
}

TEST(FittedModel, RefusesAnotherVersion) {
  const test::TemporaryDirectory directory;
  const Bytes whole = small_model(directory);
  std::string content(whole.begin(), whole.end());
  const size_t position = content.find("\"version\":\"1\"");
  ASSERT_NE(position, std::string::npos);
  const auto with_version = [&](char digit) {
    std::string changed = content;
    changed[position + 11] = digit;
    return failure_of(Bytes(changed.begin(), changed.end()));
  };
  EXPECT_EQ(
      with_version('3'),
      "model: a fitted model of version 3, but this panda reads versions 1 to 2: use a newer panda, or fit "
      "it again with this one");
  EXPECT_EQ(with_version('0'),
            "model: a fitted model of version 0, but this panda reads versions 1 to 2: fit it again with "
            "this panda");
  EXPECT_EQ(with_version('x'), "model: the model's field version is 'x', expected a number");
}

TEST(FittedModel, SaysWhenAFileIsAnotherThing) {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path("weights.safetensors");
  const float value = 1;
  weights::write_safetensors(path, {{"fc.bias", Tensor::from<float>({1}, &value)}});
  EXPECT_EQ(failure_of([&] { FittedModelFile file(path); }),
            path + ": this safetensors file is not a fitted model (panda fit makes one)");
  Bytes damaged = small_model(directory);
  damaged.back() ^= 1;
  EXPECT_EQ(failure_of(damaged),
            "model: the model is damaged: its content does not match its SHA-256; fit it again or restore "
            "the file");
}

TEST(FittedModel, NamesFieldsAndTensorsThatAreMissingOrWrong) {
  const test::TemporaryDirectory directory;
  const FittedModelFile file = open_bytes(small_model(directory));
  EXPECT_EQ(failure_of([&] { static_cast<void>(file.text_field("arch")); }),
            "model: the model has no field arch");
  EXPECT_EQ(failure_of([&] { static_cast<void>(file.integer_field("option.scale", 0, 9)); }),
            "model: the model's field option.scale is '0.1', expected a number");
  EXPECT_EQ(failure_of([&] { static_cast<void>(file.integer_field("option.k", 3, 9)); }),
            "model: the model's field option.k is 2, expected 3 to 9");
  EXPECT_EQ(failure_of([&] { static_cast<void>(file.load("center", DType::kF64, 2)); }),
            "model: the model has no tensor 'center'");
  EXPECT_EQ(failure_of([&] { static_cast<void>(file.load("gallery", DType::kF64, 2)); }),
            "model: the model's tensor 'gallery' is f32 3x2, expected f64 of rank 2");
}

TEST(FittedModel, LeavesNothingWhenInterrupted) {
  const test::TemporaryDirectory directory;
  request_interrupt();
  EXPECT_THROW(write_fitted_model(directory.path("model"), "dn2", {}, small_tensors()), Interrupted);
  clear_interrupt();
  EXPECT_TRUE(list_directory(directory.path()).empty());
}

TEST(FittedModel, KeepsTransformAndManifest) {
  const test::TemporaryDirectory directory;
  data::ImageTransform transform;
  transform.resize_mode = data::ImageTransform::ResizeMode::kSquare;
  transform.resize = 96;
  transform.crop = 64;
  transform.channels = 1;
  transform.mean = {0.1F, 0.2F, 0.3F};
  transform.stddev = {0.7F, 1e-3F, 3.14159274F};
  const FitManifest manifest{"ab", "cd", "0.1.0", "cpu avx2", 17};
  weights::Metadata fields;
  put_transform(fields, transform);
  put_manifest(fields, manifest);
  write_fitted_model(directory.path("model"), "dn2", fields, small_tensors());
  const FittedModelFile file(directory.path("model"));
  EXPECT_EQ(get_transform(file), transform);
  EXPECT_EQ(get_manifest(file), manifest);
}

TEST(FittedModel, RefusesATransformThatCannotBe) {
  const test::TemporaryDirectory directory;
  weights::Metadata good;
  put_transform(good, data::ImageTransform());
  const auto failure_with = [&](const std::string& key, const std::string& value) {
    weights::Metadata fields = good;
    fields[key] = value;
    write_fitted_model(directory.path("model"), "dn2", fields, small_tensors());
    const FittedModelFile file(directory.path("model"));
    return failure_of([&] { static_cast<void>(get_transform(file)); });
  };
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"transform.resize", "0"},
                                                        {"transform.resize", "99999999999"},
                                                        {"transform.crop", "-3"},
                                                        {"transform.crop", "0"},
                                                        {"transform.crop", "257"},
                                                        {"transform.channels", "2"},
                                                        {"transform.stddev.0", "0"},
                                                        {"transform.mean.1", "nan"},
                                                        {"transform.mean.2", "1e39"},
                                                        {"transform.resize_mode", "long-side"}}) {
    EXPECT_NE(failure_with(key, value), "no FormatError") << key << " = " << value;
  }
  EXPECT_EQ(failure_with("transform.crop", "224"), "no FormatError");
  static_cast<void>(failure_with("transform.crop", "0"));  // which methods with whole pictures take
  EXPECT_EQ(get_transform(FittedModelFile(directory.path("model")), true).crop, 0);
}

TEST(TensorBundle, OffersTensorsOfAnotherSourceUnderAPrefix) {
  const TensorBundle first = small_tensors();
  TensorBundle second("both");
  second.add_from("network/", first, {"gallery"});
  ASSERT_EQ(second.list().size(), 1u);
  EXPECT_EQ(second.list()[0].name, "network/gallery");
  EXPECT_EQ(second.load("network/gallery").data<float>()[0], 1);
  EXPECT_THROW(second.add_from("network/", first, {"gallery"}), InvalidArgument);
  EXPECT_THROW(second.add_from("", first, {"missing"}), InvalidArgument);
  const PrefixedTensors inner(second, "network/");
  EXPECT_TRUE(inner.contains("gallery"));
  EXPECT_FALSE(inner.contains("network/gallery"));
  EXPECT_EQ(inner.list()[0].name, "gallery");
}

}  // namespace
}  // namespace panda::anomaly
