// No reader may ask for more memory than the file's bytes justify. A program of its own: it counts every
// allocation.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/unit/weights/weights_test_tools.h"
#include "tests/unit/weights/zip_builder.h"
#include "weights/npy.h"
#include "weights/weights_file.h"

namespace {
std::atomic<int64_t> in_use{0};
std::atomic<int64_t> peak{0};
std::atomic<int64_t> largest{0};

void* counted(std::size_t bytes) {
  constexpr std::size_t kPrefix = 16;
  void* block = std::malloc(bytes + kPrefix);
  if (block == nullptr) throw std::bad_alloc();
  *static_cast<std::size_t*>(block) = bytes;
  const int64_t now = in_use += static_cast<int64_t>(bytes);
  int64_t seen = peak;
  while (now > seen && !peak.compare_exchange_weak(seen, now)) {
  }
  seen = largest;
  while (static_cast<int64_t>(bytes) > seen &&
         !largest.compare_exchange_weak(seen, static_cast<int64_t>(bytes))) {
  }
  return static_cast<char*>(block) + kPrefix;
}

void release(void* pointer) noexcept {
  if (pointer == nullptr) return;
  void* block = static_cast<char*>(pointer) - 16;
  in_use -= static_cast<int64_t>(*static_cast<std::size_t*>(block));
  std::free(block);
}
}  // namespace

void* operator new(std::size_t bytes) {
  return counted(bytes);
}
void* operator new[](std::size_t bytes) {
  return counted(bytes);
}
void operator delete(void* pointer) noexcept {
  release(pointer);
}
void operator delete[](void* pointer) noexcept {
  release(pointer);
}
void operator delete(void* pointer, std::size_t) noexcept {
  release(pointer);
}
void operator delete[](void* pointer, std::size_t) noexcept {
  release(pointer);
}

namespace panda::weights {
namespace {

using std::string_literals::operator""s;

/// The most memory in use while the file is opened and each tensor is loaded, beyond what was before: heap
/// and tensors.
int64_t peak_of(const std::vector<uint8_t>& bytes, const std::string& name) {
  const int64_t before = in_use;
  peak = before;
  int64_t tensors = 0;
  const ByteSourcePtr source = borrowed_source(bytes.data(), static_cast<int64_t>(bytes.size()), name);
  (void)test::error_of([&] {
    if (extension_of(name) == "npy") {
      tensors = read_npy(source).bytes();
      return;
    }
    const auto file = open_weights(source);
    for (const TensorInfo& info : file->list()) tensors = std::max(tensors, file->load(info.name).bytes());
  });
  return peak - before + tensors;
}

TEST(Memory, CountingWorks) {
  const int64_t before = in_use;
  peak = before;
  { const std::vector<char> block(1'000'000); }
  EXPECT_GE(peak - before, 1'000'000);
  EXPECT_EQ(in_use, before);
}

TEST(Memory, ExtremeSizesAskForNoMoreThanTheFileJustifies) {
  for (const char* name : {"state.safetensors", "state.pth", "state_stream.pth", "state_tar.pth", "state.npz",
                           "f4.npy", "f4_v2.npy"}) {
    const std::vector<uint8_t> whole = test::golden_bytes(name);
    const int64_t limit = 100 * static_cast<int64_t>(whole.size()) + (1 << 20);
    for (size_t at = 0; at + 8 <= whole.size(); at += at < 512 || at + 512 > whole.size() ? 1 : 11) {
      for (const size_t width : {size_t{4}, size_t{8}}) {
        for (const uint8_t top : {uint8_t{0x7f}, uint8_t{0x3f}, uint8_t{0x00}}) {
          std::vector<uint8_t> bytes = whole;
          for (size_t i = 0; i < width; ++i) bytes[at + i] = i + 1 == width ? top : 0xff;
          ASSERT_LT(peak_of(bytes, name), limit) << name << " byte " << at;
        }
      }
    }
  }
}

TEST(Memory, HostileStructuresStayWithinAConstantTimesTheFile) {
  struct Case {
    const char* what;
    std::vector<uint8_t> bytes;
    int64_t factor;
  };
  std::string header = "{\"__metadata__\":{";
  for (int i = 0; i < 50'000; ++i) header += "\"" + std::to_string(i) + "\":\"\",";
  header.back() = '}';
  header += "}";
  std::string tensors = "{";
  for (int i = 0; i < 20'000; ++i)
    tensors += "\"" + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)";
  tensors.back() = '}';
  const std::string magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."s;
  std::vector<test::ZipPart> parts;
  for (int i = 0; i < 5'000; ++i) parts.push_back(test::stored_part("a" + std::to_string(i), ""));
  const std::string zeros = "\x93NUMPY\x01"s + '\0' + test::le(60, 2) +
                            "{'descr': '<f4', 'fortran_order': False, 'shape': (2500000,)}" +
                            std::string(10'000'000, '\0');
  const Case cases[] = {
      {"metadata", test::to_bytes(test::le(header.size(), 8) + header), 40},
      {"empty tensors", test::to_bytes(test::le(tensors.size(), 8) + tensors), 20},
      {"nested arrays", test::to_bytes(test::le(400'005, 8) + "{\"a\":" + std::string(400'000, '[')), 20},
      {"dicts", test::to_bytes(magic + std::string(500'000, '}')), 120},
      {"marks", test::to_bytes(magic + std::string(500'000, '(')), 40},
      {"members", test::build_zip(parts), 20},
      {"inflation", test::build_zip({test::deflated_part("a.npy", zeros)}), 1033 + 20},
  };
  for (const Case& entry : cases) {
    const int64_t used = peak_of(entry.bytes, "hostile");
    EXPECT_LT(used, entry.factor * static_cast<int64_t>(entry.bytes.size()) + (1 << 20))
        << entry.what << ": " << used << " for " << entry.bytes.size();
  }
}

}  // namespace
}  // namespace panda::weights
