#include "data/dataset.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>

#include "data/image_write.h"
#include "kernels/tensor/error.h"
#include "tests/support/real_data.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/data/support.h"

namespace panda::data {
namespace {

using ::panda::test::TemporaryDirectory;

/// The message of the error that opening throws; "" if it does not.
std::string refusal(const DatasetOptions& options) {
  try {
    (void)open_dataset(options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_refused(const DatasetOptions& options, const std::string& part) {
  const std::string message = refusal(options);
  EXPECT_NE(message.find(part), std::string::npos)
      << "got \"" << message << "\", expected \"" << part << "\"";
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

DatasetOptions options_for(const std::string& kind, const std::string& directory,
                           const std::string& class_name = "") {
  DatasetOptions options;
  options.kind = kind;
  options.directory = directory;
  options.class_name = class_name;
  return options;
}

void write_image(const TemporaryDirectory& folder, const std::string& name, uint64_t seed = 0,
                 int64_t height = 4, int64_t width = 5, int64_t channels = 1) {
  const std::vector<uint8_t> png = encode_png(test::made_image(seed, 0, channels, height, width));
  folder.write(name, {reinterpret_cast<const char*>(png.data()), png.size()});
}

std::vector<std::string> names_of(const ImageSet& set, const TemporaryDirectory& folder) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < set.size(); ++i)
    names.push_back(set.sample(i).file.substr(folder.path().size() + 1));
  return names;
}

TEST(Mvtec, SplitsLabelsAndMasks) {
  const TemporaryDirectory folder;
  write_image(folder, "train/good/001.png");
  write_image(folder, "train/good/000.png");
  write_image(folder, "test/scratch/000.png");
  write_image(folder, "test/good/000.png");
  Image mask(4, 5, 1);
  mask.pixels[7] = 255;
  mask.pixels[8] = 127;
  write_png(folder.write("ground_truth/scratch/000_mask.png", ""), mask);
  folder.write("train/good/notes.txt", "not an image");
  folder.write("train/good/.hidden.png", "not an image");

  const Dataset dataset = open_dataset(options_for("mvtec", folder.path()));
  EXPECT_EQ(names_of(*dataset.train, folder),
            (std::vector<std::string>{"train/good/000.png", "train/good/001.png"}));
  EXPECT_EQ(names_of(*dataset.test, folder),
            (std::vector<std::string>{"test/good/000.png", "test/scratch/000.png"}));
  EXPECT_EQ(dataset.test->sample(0).label, 0);
  EXPECT_EQ(dataset.test->sample(1).label, 1);
  EXPECT_EQ(dataset.test->sample(1).class_name, "scratch");
  EXPECT_TRUE(dataset.test->has_masks());
  EXPECT_FALSE(dataset.train->has_masks());
  std::vector<uint8_t> expected(20, 0);
  EXPECT_EQ(dataset.test->load_mask(0, 4, 5).pixels, expected);
  expected[7] = 255;
  EXPECT_EQ(dataset.test->load_mask(1, 4, 5).pixels, expected);
  EXPECT_THROW((void)dataset.test->load_mask(1, 5, 4), InvalidArgument);
  EXPECT_THROW((void)dataset.test->sample(2), InvalidArgument);
  EXPECT_NE(dataset.description.find("2 training and 2 test images"), std::string::npos)
      << dataset.description;
}

TEST(Mvtec, CategoryIsAFolderInside) {
  const TemporaryDirectory folder;
  write_image(folder, "bottle/train/good/000.png");
  write_image(folder, "bottle/test/good/000.png");
  EXPECT_EQ(open_dataset(options_for("mvtec", folder.path(), "bottle")).train->size(), 1);
  expect_refused(options_for("mvtec", folder.path()), "train/good: is no directory");
}

TEST(Mvtec, AMissingMaskIsNamed) {
  const TemporaryDirectory folder;
  write_image(folder, "train/good/000.png");
  write_image(folder, "test/scratch/000.png");
  write_image(folder, "ground_truth/scratch/001_mask.png");
  expect_refused(options_for("mvtec", folder.path()), "ground_truth/scratch/000_mask.png: no such mask");
}

TEST(Folder, OneClassOfMany) {
  const TemporaryDirectory folder;
  write_image(folder, "train/cat/b.png");
  write_image(folder, "train/cat/a.png");
  write_image(folder, "train/dog/a.png");
  write_image(folder, "test/cat/a.png");
  write_image(folder, "test/dog/a.png");
  write_image(folder, "test/eel/deeper/a.png");
  for (const char* name : {"dog", "DOG", "1"}) {
    const Dataset dataset = open_dataset(options_for("folder", folder.path(), name));
    EXPECT_EQ(dataset.class_names, (std::vector<std::string>{"cat", "dog", "eel"}));
    EXPECT_EQ(names_of(*dataset.train, folder), (std::vector<std::string>{"train/dog/a.png"}));
    EXPECT_EQ(names_of(*dataset.test, folder),
              (std::vector<std::string>{"test/cat/a.png", "test/dog/a.png", "test/eel/deeper/a.png"}));
    EXPECT_EQ(dataset.test->sample(0).label, 1);
    EXPECT_EQ(dataset.test->sample(1).label, 0);
    EXPECT_EQ(dataset.test->sample(2).label, 1);
  }
  expect_refused(options_for("folder", folder.path(), "cow"), "no class cow; the classes are cat, dog, eel");
  expect_refused(options_for("folder", folder.path(), "3"), "no class 3; the classes are cat, dog, eel");
  expect_refused(options_for("folder", folder.path(), "eel"),
                 "train/eel: no training images of the normal class");
  expect_refused(options_for("folder", folder.path()), "has 2 class folders; a class is needed");
}

TEST(Folder, NormalAndAnomalousFolders) {
  for (const char* train : {"train/a.png", "train/only/a.png"}) {
    const TemporaryDirectory folder;
    write_image(folder, train);
    write_image(folder, "test/Normal/a.png");
    write_image(folder, "test/broken/a.png");
    const Dataset dataset = open_dataset(options_for("folder", folder.path()));
    EXPECT_EQ(dataset.train->size(), 1);
    EXPECT_EQ(dataset.test->sample(0).label, 0);
    EXPECT_EQ(dataset.test->sample(1).label, 1);
  }
  const TemporaryDirectory folder;
  write_image(folder, "train/a.png");
  write_image(folder, "test/intact/a.png");
  expect_refused(options_for("folder", folder.path()),
                 "no folder of normal images, expected one named good, normal or ok");
}

TEST(Folder, MissingAndEmptySplits) {
  const TemporaryDirectory folder;
  write_image(folder, "train/a.png");
  DatasetOptions options = options_for("folder", folder.path());
  expect_refused(options, "test: is no directory, expected this split");
  options.need_test = false;
  EXPECT_EQ(open_dataset(options).train->size(), 1);
  EXPECT_EQ(open_dataset(options).test->size(), 0);
  std::filesystem::create_directories(folder.path("test/good"));
  options.need_test = true;
  expect_refused(options, "no test images (folder)");
  std::filesystem::remove(folder.path("train/a.png"));
  options.need_test = false;
  expect_refused(options, "no training images (folder)");
}

TEST(OpenDataset, RefusesUnknownKindsAndPlaces) {
  const TemporaryDirectory folder;
  expect_refused(options_for("mvtek", folder.path()),
                 "no data set kind \"mvtek\"; the kinds are mvtec, folder, cifar10");
  expect_refused(options_for("mvtec", folder.path("none\n")), "none\\x0a: is no directory");
}

TEST(FileSet, NamesTheUnreadableFile) {
  const TemporaryDirectory folder;
  const std::string bad = folder.write("a/bad.tif", "II*");
  write_image(folder, "a/good.png", 3);
  const std::unique_ptr<ImageSet> set = open_image_files(list_images({folder.path("a")}));
  ASSERT_EQ(set->size(), 2);
  EXPECT_EQ(set->load(1).pixels, test::made_image(3, 0, 1, 4, 5).pixels);
  try {
    (void)set->load(0);
    FAIL() << "no error";
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find(bad + ": is "), std::string::npos) << error.what();
  }
}

TEST(ListImages, FilesAsGivenAndDirectoriesSorted) {
  const TemporaryDirectory folder;
  write_image(folder, "d/b.png");
  write_image(folder, "d/a/z.JPG");
  const std::string odd = folder.write("odd.dat", "x");
  EXPECT_EQ(list_images({odd, folder.path("d")}),
            (std::vector<std::string>{odd, folder.path("d/a/z.JPG"), folder.path("d/b.png")}));
  std::filesystem::create_directories(folder.path("empty"));
  EXPECT_THROW((void)list_images({folder.path("empty")}), InvalidArgument);
  EXPECT_THROW((void)list_images({folder.path("none")}), InvalidArgument);
  std::filesystem::create_directory_symlink(folder.path("d"), folder.path("d/loop"));
  EXPECT_THROW((void)list_images({folder.path("d")}), InvalidArgument);
}

TEST(LabelledFolder, GivesClassIndices) {
  const TemporaryDirectory folder;
  write_image(folder, "x/a.png");
  write_image(folder, "y/a.png");
  write_image(folder, "y/b.png");
  std::vector<std::string> names;
  const std::unique_ptr<ImageSet> set = open_labelled_folder(folder.path(), names);
  EXPECT_EQ(names, (std::vector<std::string>{"x", "y"}));
  ASSERT_EQ(set->size(), 3);
  EXPECT_EQ(set->sample(0).class_index, 0);
  EXPECT_EQ(set->sample(2).class_index, 1);
  EXPECT_THROW((void)open_labelled_folder(folder.path("x"), names), InvalidArgument);
}

std::string cifar_record(const std::string& labels, char red, char green, char blue) {
  return labels + std::string(1024, red) + std::string(1024, green) + std::string(1024, blue);
}

TEST(Cifar10, ReadsTheBinaryForm) {
  using namespace std::string_literals;
  const TemporaryDirectory folder;
  for (int batch = 1; batch <= 5; ++batch) {
    folder.write(text("cifar-10-batches-bin/data_batch_", batch, ".bin"),
                 cifar_record("\2"s, 1, 2, static_cast<char>(batch)) + cifar_record("\0"s, 4, 5, 6));
  }
  folder.write("cifar-10-batches-bin/test_batch.bin",
               cifar_record("\2"s, 7, 8, 9) + cifar_record("\x09"s, 10, 11, 12));
  const Dataset dataset = open_dataset(options_for("cifar10", folder.path(), "bird"));
  ASSERT_EQ(dataset.train->size(), 5);
  ASSERT_EQ(dataset.test->size(), 2);
  EXPECT_EQ(dataset.test->sample(0).label, 0);
  EXPECT_EQ(dataset.test->sample(1).label, 1);
  EXPECT_EQ(dataset.test->sample(1).class_name, "truck");
  EXPECT_EQ(dataset.test->sample(1).file, folder.path("cifar-10-batches-bin/test_batch.bin#1"));
  const Image image = dataset.train->load(3);
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(image.pixels[3 * 1023], 1);
  EXPECT_EQ(image.pixels[3 * 1023 + 1], 2);
  EXPECT_EQ(image.pixels[3 * 1023 + 2], 4);  // of data_batch_4
  EXPECT_EQ(dataset.test->load(1).pixels[0], 10);
  expect_refused(options_for("cifar10", folder.path()),
                 "a class is needed, the normal one; the classes are airplane");
  expect_refused(options_for("cifar10", folder.path(), "ship"),
                 "no training images (cifar10, normal class ship)");

  folder.write("cifar-10-batches-bin/data_batch_3.bin", cifar_record("\2"s, 1, 2, 3) + "cut");
  expect_refused(options_for("cifar10", folder.path(), "bird"),
                 "data_batch_3.bin: has 3076 bytes, expected records of 3073");
  folder.write("cifar-10-batches-bin/data_batch_3.bin", cifar_record("\x0a"s, 1, 2, 3));
  expect_refused(options_for("cifar10", folder.path(), "bird"),
                 "data_batch_3.bin: label 10, expected below 10 (byte 0)");
  folder.write("cifar-10-batches-bin/data_batch_3.bin", "");
  expect_refused(options_for("cifar10", folder.path(), "bird"), "data_batch_3.bin: has 0 bytes");
  std::filesystem::remove(folder.path("cifar-10-batches-bin/data_batch_3.bin"));
  expect_refused(options_for("cifar10", folder.path(), "bird"), "data_batch_3.bin: cannot open");
}

TEST(Cifar10, TakesFoldersOfImagesToo) {
  const TemporaryDirectory folder;
  write_image(folder, "train/bird/a.png");
  write_image(folder, "test/bird/a.png");
  write_image(folder, "test/cat/a.png");
  EXPECT_EQ(open_dataset(options_for("cifar10", folder.path(), "bird")).test->size(), 2);
  const TemporaryDirectory empty;
  expect_refused(options_for("cifar10", empty.path(), "bird"), "neither data_batch_1.bin nor a folder train");
}

TEST(Cifar100, UsesCoarseClasses) {
  using namespace std::string_literals;
  const TemporaryDirectory folder;
  folder.write("train.bin", cifar_record("\1\x63"s, 1, 2, 3) + cifar_record("\2\1"s, 4, 5, 6));
  folder.write("test.bin", cifar_record("\1\0"s, 7, 8, 9));
  const Dataset dataset = open_dataset(options_for("cifar100", folder.path(), "fish"));
  ASSERT_EQ(dataset.train->size(), 1);
  EXPECT_EQ(dataset.train->load(0).pixels[2], 3);
  EXPECT_EQ(dataset.class_names.size(), 20U);
  folder.write("test.bin", cifar_record("\x14\0"s, 7, 8, 9));
  expect_refused(options_for("cifar100", folder.path(), "fish"), "test.bin: label 20, expected below 20");
}

std::string idx_images(int count, int height, int width) {
  std::string bytes = {0, 0, 8, 3,
                       0, 0, 0, static_cast<char>(count),
                       0, 0, 0, static_cast<char>(height),
                       0, 0, 0, static_cast<char>(width)};
  for (int i = 0; i < count * height * width; ++i) bytes += static_cast<char>(i);
  return bytes;
}

std::string idx_labels(const std::string& labels) {
  return std::string({0, 0, 8, 1, 0, 0, 0, static_cast<char>(labels.size())}) + labels;
}

void write_gzip(const std::string& path, const std::string& bytes) {
  const gzFile file = ::gzopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(::gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
            static_cast<int>(bytes.size()));
  EXPECT_EQ(::gzclose(file), Z_OK);
}

TEST(Idx, ReadsPlainAndGzip) {
  using namespace std::string_literals;
  const TemporaryDirectory folder;
  folder.write("train-images-idx3-ubyte", idx_images(3, 2, 4));
  folder.write("train-labels-idx1-ubyte", idx_labels("\1\0\1"s));
  write_gzip(folder.path("t10k-images-idx3-ubyte.gz"), idx_images(2, 2, 4));
  write_gzip(folder.path("t10k-labels-idx1-ubyte.gz"), idx_labels("\0\1"s));
  const Dataset dataset = open_dataset(options_for("fashion-mnist", folder.path(), "trouser"));
  ASSERT_EQ(dataset.train->size(), 2);
  ASSERT_EQ(dataset.test->size(), 2);
  EXPECT_EQ(dataset.test->sample(0).label, 1);
  EXPECT_EQ(dataset.test->sample(1).label, 0);
  EXPECT_EQ(dataset.train->load(1).pixels, (std::vector<uint8_t>{16, 17, 18, 19, 20, 21, 22, 23}));
  EXPECT_EQ(dataset.test->load(1).pixels, (std::vector<uint8_t>{8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_EQ(open_dataset(options_for("mnist", folder.path(), "1")).train->sample(0).class_name, "1");
}

TEST(Idx, RefusesBrokenFiles) {
  using namespace std::string_literals;
  const TemporaryDirectory folder;
  const DatasetOptions options = options_for("mnist", folder.path(), "1");
  const std::string images = idx_images(2, 2, 4);
  const std::string labels = idx_labels("\1\0"s);
  const auto rewrite = [&](const std::string& train_images, const std::string& train_labels) {
    folder.write("train-images-idx3-ubyte", train_images);
    folder.write("train-labels-idx1-ubyte", train_labels);
  };
  folder.write("t10k-images-idx3-ubyte", images);
  folder.write("t10k-labels-idx1-ubyte", labels);
  expect_refused(options, "train-images-idx3-ubyte: cannot open");
  for (size_t size = 0; size < images.size(); ++size) {
    rewrite(images.substr(0, size), labels);
    ASSERT_NE(refusal(options), "") << "cut to " << size;
  }
  for (size_t size = 0; size < labels.size(); ++size) {
    rewrite(images, labels.substr(0, size));
    ASSERT_NE(refusal(options), "") << "cut to " << size;
  }
  rewrite(images, labels);
  EXPECT_EQ(refusal(options), "");
  rewrite(idx_labels(std::string(20, 1)), labels);
  expect_refused(options, "expected the IDX magic 0 0 8 3");
  rewrite(images, idx_labels("\1\0\0"s));
  expect_refused(options, "3 labels for the 2 images of");
  rewrite(images, idx_labels("\1\x0a"s));
  expect_refused(options, "label 10, expected below 10 (byte 9)");
  rewrite("\0\0\x08\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"s, labels);
  expect_refused(options, "images of extent 4294967295");
  rewrite("\0\0\x08\3\xff\xff\xff\xff\0\0\x80\0\0\0\x80\0"s, labels);
  expect_refused(options, "0 bytes follow the IDX header, expected");
}

TEST(Idx, RefusesBrokenGzip) {
  using namespace std::string_literals;
  const TemporaryDirectory folder;
  const DatasetOptions options = options_for("mnist", folder.path(), "1");
  for (const char* split : {"train", "t10k"}) {
    folder.write(text(split, "-labels-idx1-ubyte"), idx_labels("\1\0"s));
    write_gzip(folder.path(text(split, "-images-idx3-ubyte.gz")), idx_images(2, 2, 4));
  }
  EXPECT_EQ(refusal(options), "");
  const std::string path = folder.path("train-images-idx3-ubyte.gz");
  const std::vector<uint8_t> whole = read_file(path);
  const std::string bytes(whole.begin(), whole.end());
  for (size_t size = 0; size < bytes.size(); ++size) {
    folder.write("train-images-idx3-ubyte.gz", bytes.substr(0, size));
    ASSERT_NE(refusal(options), "") << "cut to " << size;
  }
  folder.write("train-images-idx3-ubyte.gz", bytes + "x");
  expect_refused(options, "1 bytes behind the gzip data");
  std::string flipped = bytes;
  flipped[bytes.size() - 6] = static_cast<char>(flipped[bytes.size() - 6] ^ 1);  // the CRC
  folder.write("train-images-idx3-ubyte.gz", flipped);
  expect_refused(options, "damaged gzip data: incorrect data check");
}

std::string npy(const std::string& dict, const std::string& data) {
  using namespace std::string_literals;
  std::string header = dict + "\n";
  return "\x93NUMPY\1\0"s + static_cast<char>(header.size()) + '\0' + header + data;
}

std::string npy_images(const std::string& shape, const std::string& data) {
  return npy("{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + ", }", data);
}

TEST(Npy, ReadsImagesAndLabels) {
  using namespace std::string_literals;
  const TemporaryDirectory folder;
  folder.write("train.npy", npy_images("(2, 1, 2, 3)", "abcdefghijkl"));
  folder.write("test.npy", npy_images("(3, 1, 2)", "abcdef"));
  folder.write("test_labels.npy",
               npy("{'descr': '<i2', 'fortran_order': False, 'shape': (3,), }", "\0\0\1\0\0\0"s));
  const Dataset dataset = open_dataset(options_for("npy", folder.path()));
  EXPECT_EQ(dataset.train->load(1).channels, 3);
  EXPECT_EQ(dataset.train->load(1).pixels, (std::vector<uint8_t>{'g', 'h', 'i', 'j', 'k', 'l'}));
  EXPECT_EQ(dataset.test->load(2).pixels, (std::vector<uint8_t>{'e', 'f'}));
  EXPECT_EQ(dataset.test->sample(1).label, 1);
  EXPECT_EQ(dataset.test->sample(2).label, 0);

  folder.write("train_labels.npy", npy_images("(2,)", "\0\1"s));
  const Dataset by_class = open_dataset(options_for("npy", folder.path(), "1"));
  ASSERT_EQ(by_class.train->size(), 1);
  EXPECT_EQ(by_class.train->sample(0).file, folder.path("train.npy#1"));
  EXPECT_EQ(by_class.test->sample(0).label, 1);
  EXPECT_EQ(by_class.test->sample(1).label, 0);
}

TEST(Npy, RefusesBrokenFiles) {
  using namespace std::string_literals;
  const TemporaryDirectory folder;
  const DatasetOptions options = options_for("npy", folder.path());
  const std::string whole = npy_images("(2, 1, 2)", "abcd");
  folder.write("test.npy", whole);
  folder.write("test_labels.npy", npy_images("(2,)", "\0\1"s));
  for (size_t size = 0; size < whole.size(); ++size) {
    folder.write("train.npy", whole.substr(0, size));
    ASSERT_NE(refusal(options), "") << "cut to " << size;
  }
  const auto expect_train_refused = [&](const std::string& bytes, const std::string& part) {
    folder.write("train.npy", bytes);
    expect_refused(options, part);
  };
  expect_train_refused(npy_images("(2, 1, 3)", "abcd"), "4 bytes follow the header, not what its shape says");
  expect_train_refused(npy_images("(4294967296, 4294967296, 2)", ""), "not what its shape says");
  expect_train_refused(npy_images("(4,)", "abcd"), "an array of rank 1");
  expect_train_refused(npy_images("(1, 0, 4)", ""), "images of 0 x 4 x 1");
  expect_train_refused(npy_images("(-1, 1, 2)", "abcd"), "expected an extent");
  expect_train_refused(npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "abcd"),
                       "type |O, expected integers");
  expect_train_refused(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1), }", "abcd"),
                       "type <f4, expected |u1");
  expect_train_refused(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 1, 2), }", "abcd"),
                       "expected C order");
  expect_train_refused(npy("{'descr': '|u1', 'shape': (2, 1, 2), }", "abcd"), "the header lacks");
  expect_train_refused(npy("{'descr': '|u1', 'descr': '|u1'}", "abcd"), "unexpected or repeated key");
  expect_train_refused("\x93NUMPY\4\0\1\0 "s, ".npy version 4.0");
  expect_train_refused("\x93NUMPY\2\0\xff\xff\xff\xff"s, "a .npy header of 4294967295 bytes");
  folder.write("train.npy", whole);
  EXPECT_EQ(refusal(options), "");
  folder.write("test_labels.npy", npy_images("(2,)", "\0\2"s));
  expect_refused(options, "label 2 of image 1, expected 0 to 1");
  folder.write("test_labels.npy", npy_images("(3,)", "\0\1\1"s));
  expect_refused(options, "3 labels for the 2 images");
}

TEST(RealData, HasTheSplitsOfItsProtocol) {
  const std::string root = panda::test::real_data();
  if (root.empty()) GTEST_SKIP() << "PANDA_DATA is not set: no real data sets to open";
  const std::string place = root;
  const Dataset cifar = open_dataset(options_for("cifar10", place + "/cifar10", "bird"));
  EXPECT_EQ(cifar.train->size(), 5000);
  EXPECT_EQ(cifar.test->size(), 10000);
  EXPECT_EQ(cifar.train->load(4999).channels, 3);
  const Dataset fashion = open_dataset(options_for("fashion-mnist", place + "/fashion-mnist", "Coat"));
  EXPECT_EQ(fashion.train->size(), 6000);
  EXPECT_EQ(fashion.test->size(), 10000);
  EXPECT_EQ(fashion.test->load(9999).width, 28);
  const Dataset toothbrush = open_dataset(options_for("mvtec", place + "/toothbrush"));
  EXPECT_TRUE(toothbrush.test->has_masks());
  int64_t marked = 0;
  for (int64_t i = 0; i < toothbrush.test->size(); ++i) {
    const Image image = toothbrush.test->load(i);
    const Image mask = toothbrush.test->load_mask(i, image.height, image.width);
    const auto anomalous = std::count(mask.pixels.begin(), mask.pixels.end(), 255);
    EXPECT_EQ(anomalous > 0, toothbrush.test->sample(i).label == 1) << toothbrush.test->sample(i).file;
    marked += anomalous;
  }
  EXPECT_GT(marked, 0);
}

}  // namespace
}  // namespace panda::data
