#include "weights/embedded.h"

#include <cmath>
#include <fstream>
#include <iterator>

#include "kernels/tensor/tensor.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/weights/weights_test_tools.h"
#include "weights/manifest.h"
#include "weights/tensor_values.h"
#include "weights/weights_file.h"

namespace panda::weights {
namespace {

TEST(EmbeddedWeights, AreAHalfWidthResnet18OfUnder8Megabytes) {
  const ByteSourcePtr source = embedded_source();
  EXPECT_LT(source->size(), 8'000'000);
  const std::unique_ptr<NamedTensors> tensors = open_weights(source);
  EXPECT_EQ(tensors->load("conv1.weight").shape(), (Shape{32, 3, 7, 7}));
  EXPECT_EQ(tensors->load("layer4.1.conv2.weight").shape(), (Shape{256, 256, 3, 3}));
  EXPECT_EQ(tensors->load("fc.weight").shape(), (Shape{200, 256}));
  for (const TensorInfo& info : tensors->list()) {
    const ValueSummary values = summarize(tensors->load(info.name));
    EXPECT_EQ(values.nan_count + values.infinity_count, 0) << info.name;
  }
}

TEST(EmbeddedWeights, AreTheFileThatItsReadmeDescribes) {
  std::ifstream readme(std::string(PANDA_SOURCE_DIR) + "/weights/embedded/README.md");
  const std::string content{std::istreambuf_iterator<char>(readme), {}};
  EXPECT_NE(content.find(source_sha256(*embedded_source())), std::string::npos);
  EXPECT_EQ(source_sha256(*embedded_source()),
            file_sha256(std::string(PANDA_SOURCE_DIR) + "/weights/embedded/backbone.safetensors"));
}

TEST(EmbeddedWeights, StandForAWordAndNotForAPath) {
  EXPECT_EQ(weights_source("embedded")->size(), embedded_source()->size());
  EXPECT_ERROR_CONTAINS(weights_source("./embedded"), "embedded: cannot open");
  const panda::test::TemporaryDirectory folder;
  EXPECT_EQ(weights_source(folder.write("embedded", "abc"))->size(), 3);
}

}  // namespace
}  // namespace panda::weights
