// Reads zip archives for what .pth and .npz files put into them: stored and deflated members, zip64.
//
// Refused: encryption, other methods, several disks, members that overlap each other or the directory, two
// members of one name, local headers that disagree with the directory, bytes before the first or after the
// last record, and sizes that the bytes present cannot give (deflate expands at most 1032 times). Nothing is
// ever written to disk, so names need no care.
//
// Source: PKWARE APPNOTE 6.3.x; RFC 1951.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weights/byte_source.h"

namespace panda::weights {

struct ZipMember {
  std::string name;
  int64_t data_offset = 0;  // of the stored or deflated bytes, in the file
  int64_t stored_bytes = 0;
  int64_t bytes = 0;  // after inflating
  uint32_t crc32 = 0;
  bool deflated = false;
};

class ZipArchive {
 public:
  /// Reads and checks the directory and every local header. Throws FormatError, Unsupported.
  explicit ZipArchive(ByteSourcePtr source);

  /// In the directory's order.
  [[nodiscard]] const std::vector<ZipMember>& members() const { return members_; }
  /// nullptr if there is none of that name.
  [[nodiscard]] const ZipMember* find(const std::string& name) const;
  [[nodiscard]] const ByteSourcePtr& source() const { return source_; }

 private:
  void read_member(const uint8_t* record, int64_t record_bytes, int64_t directory_offset);
  void check_local_header(ZipMember& member, int64_t local_offset, uint16_t flags, int64_t directory_offset);

  ByteSourcePtr source_;
  std::vector<ZipMember> members_;
  std::vector<size_t> by_name_;
  std::vector<int64_t> local_offsets_;
};

/// Gives a member's bytes from first to last. The checksum is compared when the last one has been read; a
/// stored CRC of 0 means that the writer made none (PyTorch can be told so).
class ZipMemberReader {
 public:
  ZipMemberReader(ByteSourcePtr source, const ZipMember& member);
  ~ZipMemberReader();
  ZipMemberReader(const ZipMemberReader&) = delete;
  ZipMemberReader& operator=(const ZipMemberReader&) = delete;

  [[nodiscard]] int64_t bytes_left() const { return member_.bytes - position_; }
  /// The next `bytes` bytes; throws FormatError for damaged data or if there are fewer.
  void read(void* destination, int64_t bytes);

 private:
  void refill();
  void inflate_some(void* destination, int64_t bytes);
  void finish();

  struct Inflater;
  ByteSourcePtr source_;
  const ZipMember member_;
  int64_t position_ = 0;
  int64_t consumed_ = 0;
  uint32_t crc_ = 0;
  std::unique_ptr<Inflater> inflater_;
};

/// A whole member, its checksum compared. Throws FormatError if it has more than `limit_bytes`.
[[nodiscard]] std::vector<uint8_t> read_zip_member(const ByteSourcePtr& source, const ZipMember& member,
                                                   int64_t limit_bytes);

}  // namespace panda::weights
