#include "weights/zip.h"

#include "tests/unit/weights/weights_test_tools.h"
#include "tests/unit/weights/zip_builder.h"

namespace panda::weights {
namespace {

using test::build_zip;
using test::deflated_part;
using test::le;
using test::stored_part;
using test::ZipPart;

ZipArchive open_bytes(const std::vector<uint8_t>& bytes) {
  return ZipArchive(buffer_source(bytes, "t.zip"));
}

std::string content(const ZipArchive& archive, const std::string& name) {
  const ZipMember* member = archive.find(name);
  if (member == nullptr) return "(none)";
  const std::vector<uint8_t> bytes = read_zip_member(archive.source(), *member, 1 << 30);
  return {bytes.begin(), bytes.end()};
}

void read_all(const std::vector<uint8_t>& bytes) {
  const ZipArchive archive = open_bytes(bytes);
  for (const ZipMember& member : archive.members()) (void)read_zip_member(archive.source(), member, 1 << 30);
}

TEST(Zip, ReadsStoredAndDeflatedMembers) {
  std::string large;
  for (int64_t i = 0; i < 300'000; ++i) large += static_cast<char>(i * i % 251);
  const ZipArchive archive = open_bytes(build_zip(
      {stored_part("a", "one"), deflated_part("b", large), deflated_part("c", ""), stored_part("d/e", "")}));
  EXPECT_EQ(content(archive, "a"), "one");
  EXPECT_EQ(content(archive, "b"), large);
  EXPECT_EQ(content(archive, "c"), "");
  EXPECT_EQ(content(archive, "d/e"), "");
  EXPECT_EQ(content(archive, "x"), "(none)");
  EXPECT_TRUE(open_bytes(build_zip({})).members().empty());
}

TEST(Zip, ReadsZip64SizesWhereverTheyStand) {
  ZipPart part = stored_part("a", "four");
  part.local_extra = le(1, 2) + le(16, 2) + le(4, 8) + le(4, 8);
  std::vector<uint8_t> bytes = build_zip({part});
  for (size_t i = 18; i < 26; ++i)
    bytes[i] = 0xff;  // both sizes of the local header, as numpy.savez writes it
  EXPECT_EQ(content(open_bytes(bytes), "a"), "four");
  bytes[30 + 1 + 4] = 5;  // the zip64 field says 5
  EXPECT_ERROR_CONTAINS(open_bytes(bytes), "local header disagrees");
}

TEST(Zip, RefusesLiesAboutPlacesAndSizes) {
  const std::vector<ZipPart> two = {stored_part("a", "0123456789"), stored_part("b", "0123456789")};
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart&, uint32_t& offset) { offset = 0; })),
                        "local header disagrees");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip({two[0], two[0]})), "two members are named 'a'");
  EXPECT_ERROR_CONTAINS(
      open_bytes(build_zip({two[0], two[0]}, [](ZipPart&, uint32_t& offset) { offset = 0; })),
      "overlaps the one before");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart&, uint32_t& offset) { offset += 1; })),
                        "no local header where");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart&, uint32_t& offset) { offset = 0xfffffff0; })),
                        "lies beyond the file's");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart&, uint32_t& offset) { offset = 0xffffffff; })),
                        "needs a zip64 field");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart& p, uint32_t&) { p.bytes = 11; })),
                        "cannot give them");
  EXPECT_ERROR_CONTAINS(
      open_bytes(build_zip(two, [](ZipPart& p, uint32_t&) { p.stored += "x", p.bytes = 11; })), "disagrees");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart& p, uint32_t&) { p.name = "c"; })), "disagrees");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart& p, uint32_t&) { p.crc ^= 1; })), "disagrees");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart& p, uint32_t&) { p.flags = 1; })),
                        "is encrypted");
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip(two, [](ZipPart& p, uint32_t&) { p.method = 12; })),
                        "compressed by method 12");
  ZipPart wrong_crc = two[0];
  wrong_crc.crc ^= 1;
  EXPECT_ERROR_CONTAINS(read_all(build_zip({wrong_crc})), "is damaged: its checksum is");
  std::vector<uint8_t> prefixed = build_zip(two);
  prefixed.insert(prefixed.begin(), 4, 'x');
  EXPECT_ERROR_CONTAINS(open_bytes(prefixed), "the directory ends at");
  std::vector<uint8_t> longer = build_zip(two);
  longer.push_back(0);
  EXPECT_ERROR_CONTAINS(open_bytes(longer), "no end record where the file ends");
  EXPECT_ERROR_CONTAINS(open_bytes(test::to_bytes(test::end_record(60000, 0, 0))),
                        "60000 members cannot stand in a directory of 0 bytes");
}

TEST(Zip, RefusesBombs) {
  const std::string zeros(1'000'000, '\0');
  ZipPart bomb = deflated_part("a", zeros);
  EXPECT_NO_THROW(read_all(build_zip({bomb})));
  bomb.bytes = 0xfffffffe;
  EXPECT_ERROR_CONTAINS(open_bytes(build_zip({bomb})), "cannot give them");
  bomb.bytes = 999'999;  // gives more than it says
  EXPECT_ERROR_CONTAINS(read_all(build_zip({bomb})), "inflates to more than its 999999 bytes");
  bomb.bytes = 1'000'001;  // gives less
  EXPECT_ERROR_CONTAINS(read_all(build_zip({bomb})), "does not inflate to its size");
  ZipPart trailing = deflated_part("a", "text text text");
  trailing.stored += "x";
  EXPECT_ERROR_CONTAINS(read_all(build_zip({trailing})), "bytes after its deflate stream");
  ZipPart cut = deflated_part("a", zeros);
  cut.stored.pop_back();
  EXPECT_NE(test::error_of([&] { read_all(build_zip({cut})); }), "");

  // Many members that share one deflate stream: 1,000 x 1 MB out of 1 kB.
  const ZipPart shared = deflated_part("a", zeros);
  std::string file = test::local_header(shared) + shared.stored;
  std::string directory;
  for (int i = 0; i < 1000; ++i) directory += test::central_header(shared, 0);
  file += directory + test::end_record(1000, directory.size(), file.size());
  EXPECT_ERROR_CONTAINS(open_bytes(test::to_bytes(file)), "overlaps the one before");
}

}  // namespace
}  // namespace panda::weights
