// The zip reader on arbitrary bytes: every member is read to its end.
#include "tests/fuzz/fuzz_tools.h"
#include "weights/zip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return panda::fuzz::expect_errors_only([&] {
    using namespace panda::weights;
    const ZipArchive archive(panda::fuzz::source_of(data, size));
    for (const ZipMember& member : archive.members()) {
      if (archive.find(member.name) != &member) std::abort();
      const auto bytes = read_zip_member(archive.source(), member, int64_t{1} << 24);
      if (static_cast<int64_t>(bytes.size()) != member.bytes) std::abort();
    }
  });
}
