// gpu_selfcheck: does the emulator compute what the hardware computes? Every intrinsic that kernels/simt
// emulates, on random inputs, hardware beside emulator, bit by bit (bounds for those that are approximate by
// nature).
//   gpu_selfcheck [--device cuda|cuda:N|simt] [--rounds N] [--json FILE]
// On simt the subject is the emulator with threads in random order: a check of this program and of the
// kernels. Exit code 0: all agree; 1: some do not; 2: usage, or no such device.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"
#include "kernels/tensor/tensor.h"
#include "tests/gpu_selfcheck/checks.h"

namespace panda::selfcheck {
namespace {

using kernels::GpuDevice;

constexpr int kBlocks = 8;
constexpr int64_t kThreads = int64_t{kBlocks} * kBlockThreads;

uint32_t draw(Random& random, Inputs inputs) {
  static constexpr uint32_t kSpecial[] = {0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                          0xff800000, 0x7fc00000, 0x00000001, 0x807fffff, 0x00800000,
                                          0x7f7fffff, 0x4f000000, 0xcf000000, 0x4f800000, 0x33000000,
                                          0x38800000, 0x477ff000, 0x3f000000};
  const double magnitude = std::exp2(random.next_uniform(-8.0, 8.0));
  switch (inputs) {
    case Inputs::kAnyBits:
      if (random.next_below(4) == 0) return kSpecial[random.next_below(std::size(kSpecial))];
      if (random.next_below(3) == 0) return std::bit_cast<uint32_t>(static_cast<float>(random.next_normal()));
      return static_cast<uint32_t>(random.next_below(int64_t{1} << 32));
    case Inputs::kSmallIntegers:
      return std::bit_cast<uint32_t>(static_cast<float>(random.next_below(17) - 8));
    case Inputs::kModerate:
      return std::bit_cast<uint32_t>(static_cast<float>(random.next_below(2) == 0 ? magnitude : -magnitude));
    case Inputs::kPositive:
      return std::bit_cast<uint32_t>(static_cast<float>(magnitude));
  }
  return 0;
}

std::vector<uint32_t> run(Device& device, const Check& check, const std::vector<uint32_t>& in) {
  const auto words = static_cast<int64_t>(in.size());
  const Tensor device_in(device, DType::kI32, {words}, "self-check input");
  const Tensor device_out(device, DType::kI32, {kThreads * kOutputWords}, "self-check output");
  device.copy_from_host(device_in.view().raw(), in.data(), device_in.bytes());
  device.fill(device_out.view().raw(), 0, device_out.bytes());
  check.run(kernels::gpu_device(device), static_cast<const uint32_t*>(device_in.view().raw()),
            static_cast<uint32_t*>(device_out.view().raw()), kBlocks);
  std::vector<uint32_t> out(static_cast<size_t>(device_out.numel()));
  device.copy_to_host(out.data(), device_out.view().raw(), device_out.bytes());
  return out;
}

struct Comparer {
  int64_t compared = 0;
  int64_t different = 0;
  double worst = 0;  ///< relative difference of f32 results
  std::string first;

  void add(const Check& check, const std::vector<uint32_t>& in, const std::vector<uint32_t>& subject,
           const std::vector<uint32_t>& emulator) {
    for (size_t i = 0; i < subject.size(); ++i) {
      ++compared;
      if (agree(check, subject[i], emulator[i])) continue;
      if (different++ == 0) first = describe(in, subject, emulator, i);
    }
  }

 private:
  bool agree(const Check& check, uint32_t a_bits, uint32_t b_bits) {
    if (a_bits == b_bits) return true;
    if (check.comparison == Comparison::kBits) return false;
    const double a = std::bit_cast<float>(a_bits);
    const double b = std::bit_cast<float>(b_bits);
    const double relative = std::abs(a - b) / std::max(std::abs(a), std::abs(b));
    worst = std::fmax(worst, relative);
    return relative <= check.bound;
  }
  static std::string describe(const std::vector<uint32_t>& in, const std::vector<uint32_t>& subject,
                              const std::vector<uint32_t>& emulator, size_t i) {
    const size_t thread = i / kOutputWords;
    char word[16];
    std::string line = text("thread ", thread, ", word ", i % kOutputWords, ", in");
    for (int k = 0; k < 4; ++k) {
      std::snprintf(word, sizeof word, " %08x", in[thread * kInputWords + static_cast<size_t>(k)]);
      line += word;
    }
    std::snprintf(word, sizeof word, "%08x", subject[i]);
    line += text(": device ", word);
    std::snprintf(word, sizeof word, "%08x", emulator[i]);
    return line + text(", emulator ", word);
  }
};

struct Options {
  std::string device = "cuda";
  std::string json;
  int rounds = 20;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    PANDA_CHECK(i + 1 < argc, "gpu_selfcheck: ", printable(name), " needs a value");
    const std::string value = argv[++i];
    if (name == "--device") {
      options.device = value;
    } else if (name == "--json") {
      options.json = value;
    } else if (name == "--rounds") {
      options.rounds = std::stoi(value);
    } else {
      throw InvalidArgument(text("gpu_selfcheck: unknown option '", printable(name),
                                 "', expected --device, --rounds or --json"));
    }
  }
  return options;
}

int self_check(const Options& options) {
  const bool emulated = options.device == "simt";
  kernels::DeviceOptions subject_options;
  subject_options.name = options.device;
  if (emulated) subject_options.simt_order = "random:3";
  const std::unique_ptr<Device> subject = kernels::make_device(subject_options);
  PANDA_CHECK(emulated || subject->name().starts_with("cuda"), "gpu_selfcheck: device ", options.device,
              ", expected cuda, cuda:N or simt");
  kernels::DeviceOptions emulator_options;
  emulator_options.name = "simt";
  emulator_options.simt_order = "fifo";
  const std::unique_ptr<Device> emulator = kernels::make_device(emulator_options);
  const std::vector<Check>& theirs = kernels::simt::selfchecks();
#if PANDA_WITH_CUDA
  const std::vector<Check>& ours = emulated ? theirs : kernels::cuda::selfchecks();
#else
  const std::vector<Check>& ours = theirs;
#endif
  std::printf("gpu_selfcheck: %s beside the emulator\n", subject->description().c_str());
  nlohmann::json report = {{"device", subject->description()}, {"checks", nlohmann::json::array()}};
  int failures = 0;
  for (size_t c = 0; c < ours.size(); ++c) {
    const Check& check = ours[c];
    const int capability = kernels::gpu_device(*subject).properties().compute_capability;
    if (capability < check.compute_capability) {
      std::printf("  SKIP  %-34s sm_%d has none\n", check.name, capability);
      continue;
    }
    Comparer result;
    for (int round = 0; round < options.rounds; ++round) {
      Random random(1000 * c + static_cast<uint64_t>(round));
      std::vector<uint32_t> in(static_cast<size_t>(kThreads * kInputWords));
      for (uint32_t& word : in) word = draw(random, check.inputs);
      result.add(check, in, run(*subject, check, in), run(*emulator, theirs[c], in));
    }
    const bool good = result.different == 0 && result.compared > 0;
    failures += good ? 0 : 1;
    std::printf("  %s  %-34s %lld words", good ? "ok  " : "FAIL", check.name,
                static_cast<long long>(result.compared));
    if (check.comparison == Comparison::kFloats) std::printf(", largest difference %.2g", result.worst);
    if (!good)
      std::printf(", %lld differ; first: %s", static_cast<long long>(result.different), result.first.c_str());
    std::printf("\n");
    report["checks"].push_back({{"name", check.name},
                                {"words", result.compared},
                                {"different", result.different},
                                {"bound", check.bound},
                                {"largest_relative_difference", result.worst},
                                {"first_difference", result.first}});
  }
  report["failures"] = failures;
  std::printf("gpu_selfcheck: %s\n", failures == 0 ? "all agree" : text(failures, " checks differ").c_str());
  if (!options.json.empty()) std::ofstream(options.json) << report.dump(1) << '\n';
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace panda::selfcheck

int main(int argc, char** argv) {
  try {
    return panda::selfcheck::self_check(panda::selfcheck::parse(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "gpu_selfcheck: " << error.what() << '\n';
    return 2;
  }
}
