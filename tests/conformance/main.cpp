// Registers every case for every device, then the checks on the suite itself.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>

#include "kernels/device_registry.h"
#include "tests/conformance/suite.h"

namespace panda::test {
namespace {

struct DeviceUnderTest {
  std::string name;
  std::unique_ptr<Device> device;
  bool batch_changes_bits = false;
};

/// Why no GPU is under test here, or "".
std::string why_no_cuda() {
  for (const kernels::DeviceFacts& facts : kernels::list_devices())
    if (facts.name == "cuda") return facts.reason;
  return "no device cuda is known";
}

/// The machine's GPU, in every precision: with the engine's own kernels, and with the vendor's where they
/// are.
void add_cuda(std::vector<DeviceUnderTest>& list) {
  if (!why_no_cuda().empty()) return;
  for (const Precision precision : {Precision::kF32, Precision::kTf32, Precision::kF16, Precision::kBF16}) {
    for (const kernels::Engine engine : {kernels::Engine::kNative, kernels::Engine::kVendor}) {
      kernels::DeviceOptions options;
      options.name = "cuda";
      options.precision = precision;
      options.engine = engine;
      const bool native = engine == kernels::Engine::kNative;
      try {
        list.push_back({text(native ? "cuda_" : "cuda_vendor_", precision_name(precision)),
                        kernels::make_device(options), !native});
      } catch (const Unsupported& unsupported) {
        std::printf("not under test: %s\n",
                    unsupported.what());  // a library or a precision that is not there
      }
    }
  }
}

/// The devices of this machine; the cpu device once per instruction set and thread count. 3 threads on any
/// machine: an odd split.
std::vector<DeviceUnderTest>& devices_under_test() {
  static std::vector<DeviceUnderTest> devices = [] {
    std::vector<DeviceUnderTest> list;
    list.push_back({"reference", kernels::make_device({"reference", 1, ""})});
    for (const std::string& isa : kernels::supported_instruction_sets()) {
      for (const int threads : {1, 3}) {
        list.push_back({text("cpu_", isa, "_", threads, threads == 1 ? "thread" : "threads"),
                        kernels::make_device({"cpu", threads, isa})});
      }
    }
    // Every order of threads in f32, with either poison; the other precisions in a random one.
    const auto add_simt = [&](const std::string& name, const std::string& order, const std::string& poison,
                              Precision precision) {
      kernels::DeviceOptions options;
      options.name = "simt";
      options.simt_order = order;
      options.simt_poison = poison;
      options.precision = precision;
      list.push_back({text("simt_", name, "_", precision_name(precision)), kernels::make_device(options)});
    };
    add_simt("fifo", "fifo", "nan", Precision::kF32);
    add_simt("reverse", "reverse", "finite", Precision::kF32);
    add_simt("random", "random:7", "nan", Precision::kF32);
    for (const Precision precision : {Precision::kTf32, Precision::kF16, Precision::kBF16})
      add_simt("random", "random:7", "nan", precision);
    add_cuda(list);
    return list;
  }();
  return devices;
}

Device& oracle() {
  static const std::unique_ptr<Device> device = kernels::make_device({"reference", 1, ""});
  return *device;
}

/// "device kernel" lines of expected_unsupported.txt.
std::set<std::string> expected_unsupported() {
  // The variable for a program that was carried to another machine (tools/gpu.sh).
  const char* elsewhere = std::getenv("PANDA_SOURCE_DIR");
  std::ifstream file(std::string(elsewhere == nullptr ? PANDA_SOURCE_DIR : elsewhere) +
                     "/tests/conformance/expected_unsupported.txt");
  EXPECT_TRUE(file.good());
  std::set<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') lines.insert(line);
  }
  return lines;
}

std::set<std::string> null_entries(const Device& device) {
  std::set<std::string> names;
#define PANDA_KERNEL(name, Args) \
  if (device.kernels().name == nullptr) names.insert(#name);
#include "kernels/kernel_list.def"
#undef PANDA_KERNEL
  return names;
}

TEST(Coverage, EveryKernelHasEveryKindOfCase) {
  std::set<std::string> covered;
  for (const Case& one : all_cases()) covered.insert(one.kernel + " " + case_kind_name(one.kind));
  for (const char* kernel : kernels::kKernelNames) {
    for (const CaseKind kind : kAllCaseKinds) {
      EXPECT_TRUE(covered.contains(text(kernel, " ", case_kind_name(kind))))
          << kernel << " has no case of kind " << case_kind_name(kind);
    }
  }
}

TEST(Coverage, EveryCaseNamesAKernelOfTheListAndIsUnique) {
  std::set<std::string> known(std::begin(kernels::kKernelNames), std::end(kernels::kKernelNames));
  std::set<std::string> seen;
  for (const Case& one : all_cases()) {
    EXPECT_TRUE(known.contains(one.kernel)) << one.kernel;
    EXPECT_TRUE(
        seen.insert(text(one.kernel, one.kind == CaseKind::kSweep, case_kind_name(one.kind), one.name))
            .second)
        << "twice: " << one.kernel << " " << one.name;
  }
}

TEST(Coverage, NullEntriesAreExactlyTheListedOnes) {
  std::set<std::string> missing;
  for (const DeviceUnderTest& one : devices_under_test()) {
    // One list of kernels makes the tables of simt and of every GPU.
    const std::string name = one.name.starts_with("cuda") ? "simt" : one.device->name();
    for (const std::string& kernel : null_entries(*one.device)) missing.insert(name + " " + kernel);
  }
  EXPECT_EQ(missing, expected_unsupported());
}

TEST(Coverage, AGpuIsUnderTest) {
  if (!why_no_cuda().empty() && std::getenv("PANDA_REQUIRE_GPU") == nullptr)
    GTEST_SKIP() << "no GPU: " << why_no_cuda();
  bool native = false;
  for (const DeviceUnderTest& one : devices_under_test()) native = native || one.name == "cuda_f32";
  EXPECT_TRUE(native) << why_no_cuda();
}

TEST(Coverage, HostMemoryAloneHasNoKernels) {
  EXPECT_THROW((void)host().kernels(), Unsupported);
}

class CaseTest : public ::testing::Test {
 public:
  CaseTest(const Case& one, const DeviceUnderTest& device) : case_(one), device_(device) {}
  void TestBody() override {
    if (null_entries(*device_.device).contains(case_.kernel)) {
      GTEST_SKIP() << device_.name << " has no " << case_.kernel << " (expected_unsupported.txt)";
    }
    case_.run({*device_.device, oracle(), device_.name, device_.batch_changes_bits});
  }

 private:
  const Case& case_;
  const DeviceUnderTest& device_;
};

void register_cases() {
  for (const Case& one : all_cases()) {
    for (const DeviceUnderTest& device : devices_under_test()) {
      ::testing::RegisterTest(one.kernel.c_str(),
                              text(case_kind_name(one.kind), "/", one.name, "/", device.name).c_str(),
                              nullptr, nullptr, __FILE__, __LINE__,
                              [&one, &device]() -> ::testing::Test* { return new CaseTest(one, device); });
    }
  }
}

}  // namespace
}  // namespace panda::test

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  panda::test::register_cases();
  return RUN_ALL_TESTS();
}
