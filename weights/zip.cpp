#include "weights/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kDirectorySignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;
constexpr int64_t kLocalBytes = 30;
constexpr int64_t kDirectoryBytes = 46;
constexpr int64_t kEndBytes = 22;
constexpr int64_t kEnd64Bytes = 56;
constexpr int64_t kLocator64Bytes = 20;
constexpr int64_t kMaxComment = 65535;
constexpr uint16_t kFlagEncrypted = 0x0001 | 0x0040 | 0x2000;
constexpr uint16_t kFlagDescriptor = 0x0008;
constexpr uint16_t kStored = 0;
constexpr uint16_t kDeflated = 8;
constexpr int64_t kMaxInflation = 1032;  // a deflate stream gives at most 258 bytes for 2 bits
constexpr int64_t kMaxMembers = 1'000'000;
constexpr int64_t kChunk = 1 << 16;

struct DirectoryPlace {
  int64_t offset = 0;
  int64_t bytes = 0;
  int64_t members = 0;
};

[[noreturn]] void fail(const ByteSource& source, const std::string& what,
                       int64_t offset = FormatError::kNoOffset) {
  throw FormatError(source.name(), what, offset);
}

int64_t as_size(const ByteSource& source, uint64_t value, const char* what) {
  if (value > static_cast<uint64_t>(source.size()))
    fail(source, text("zip: ", what, " ", value, " lies beyond the file's ", source.size(), " bytes"));
  return static_cast<int64_t>(value);
}

/// The end record is the file's last: its comment ends where the file ends.
int64_t find_end_record(const ByteSource& source) {
  const int64_t window = std::min(source.size(), kEndBytes + kMaxComment);
  if (window < kEndBytes) fail(source, text("zip: the file has only ", source.size(), " bytes"));
  const int64_t begin = source.size() - window;
  const std::vector<uint8_t> tail = source.bytes(begin, window);
  for (int64_t at = window - kEndBytes; at >= 0; --at) {
    const uint8_t* record = tail.data() + at;
    if (load_le32(record) == kEndSignature && at + kEndBytes + load_le16(record + 20) == window)
      return begin + at;
  }
  fail(source, "zip: no end record where the file ends (is it cut short?)", source.size());
}

DirectoryPlace find_directory(const ByteSource& source) {
  const int64_t end_offset = find_end_record(source);
  const std::vector<uint8_t> end = source.bytes(end_offset, kEndBytes);
  const bool one_part = load_le16(&end[4]) == load_le16(&end[6]) &&
                        (load_le16(&end[4]) == 0 || load_le16(&end[4]) == 0xffff) &&
                        load_le16(&end[8]) == load_le16(&end[10]);
  if (!one_part) fail(source, "zip: an archive in several parts", end_offset);
  uint64_t members = load_le16(&end[10]);
  uint64_t bytes = load_le32(&end[12]);
  uint64_t offset = load_le32(&end[16]);
  int64_t directory_end = end_offset;
  const bool has_locator =
      end_offset >= kLocator64Bytes &&
      load_le32(source.bytes(end_offset - kLocator64Bytes, 4).data()) == kLocator64Signature;
  if (has_locator) {
    const std::vector<uint8_t> locator = source.bytes(end_offset - kLocator64Bytes, kLocator64Bytes);
    const int64_t end64_offset = as_size(source, load_le64(&locator[8]), "zip64 end record at");
    const std::vector<uint8_t> end64 = source.bytes(end64_offset, kEnd64Bytes);
    if (load_le32(end64.data()) != kEnd64Signature)
      fail(source, "zip: no zip64 end record where its locator points", end64_offset);
    const uint64_t record_bytes = load_le64(&end64[4]);
    if (record_bytes < kEnd64Bytes - 12 ||
        record_bytes != static_cast<uint64_t>(end_offset - kLocator64Bytes - end64_offset) - 12) {
      fail(source, "zip: the zip64 end record does not end at its locator", end64_offset);
    }
    // The short record repeats each value or holds all ones.
    const uint64_t members64 = load_le64(&end64[32]);
    const uint64_t bytes64 = load_le64(&end64[40]);
    const uint64_t offset64 = load_le64(&end64[48]);
    if ((members != 0xffff && members != members64) || (bytes != 0xffffffff && bytes != bytes64) ||
        (offset != 0xffffffff && offset != offset64)) {
      fail(source, "zip: the two end records disagree", end64_offset);
    }
    members = members64;
    bytes = bytes64;
    offset = offset64;
    directory_end = end64_offset;
  }
  DirectoryPlace place;
  place.offset = as_size(source, offset, "directory at");
  place.bytes = as_size(source, bytes, "directory of bytes");
  if (place.bytes > source.size() - place.offset || place.offset + place.bytes != directory_end) {
    fail(source,
         text("zip: the directory ends at ", place.offset + place.bytes, ", expected ", directory_end),
         place.offset);
  }
  if (members > static_cast<uint64_t>(kMaxMembers) ||
      static_cast<int64_t>(members) * kDirectoryBytes > place.bytes) {
    fail(source, text("zip: ", members, " members cannot stand in a directory of ", place.bytes, " bytes"),
         place.offset);
  }
  place.members = static_cast<int64_t>(members);
  return place;
}

/// The values of a zip64 extra field, for those 32-bit fields that hold all ones; each stands in the order of
/// the list.
void apply_zip64(const ByteSource& source, const uint8_t* extra, int64_t extra_bytes,
                 const std::vector<uint64_t*>& wanted, int64_t offset) {
  const auto needed =
      std::count_if(wanted.begin(), wanted.end(), [](const uint64_t* v) { return *v == 0xffffffff; });
  bool found = false;
  int64_t at = 0;
  while (at + 4 <= extra_bytes) {
    const int id = load_le16(extra + at);
    const int64_t size = load_le16(extra + at + 2);
    if (size > extra_bytes - at - 4) break;  // padding that is no field
    if (id == 1) {
      if (found) fail(source, "zip: two zip64 fields in one record", offset);
      found = true;
      int64_t value_at = at + 4;
      for (uint64_t* value : wanted) {
        if (*value != 0xffffffff) continue;
        if (value_at + 8 > at + 4 + size) fail(source, "zip: a zip64 field is too short", offset);
        *value = load_le64(extra + value_at);
        value_at += 8;
      }
    }
    at += 4 + size;
  }
  if (needed > 0 && !found) fail(source, "zip: a size needs a zip64 field, and there is none", offset);
}

}  // namespace

ZipArchive::ZipArchive(ByteSourcePtr source) : source_(std::move(source)) {
  const DirectoryPlace place = find_directory(*source_);
  const std::vector<uint8_t> directory = source_->bytes(place.offset, place.bytes);
  int64_t at = 0;
  for (int64_t i = 0; i < place.members; ++i) {
    const uint8_t* record = directory.data() + at;
    if (place.bytes - at < kDirectoryBytes || load_le32(record) != kDirectorySignature) {
      fail(*source_, text("zip: directory entry ", i, " is broken"), place.offset + at);
    }
    const int64_t record_bytes =
        kDirectoryBytes + load_le16(record + 28) + load_le16(record + 30) + load_le16(record + 32);
    if (record_bytes > place.bytes - at)
      fail(*source_, text("zip: directory entry ", i, " is cut"), place.offset + at);
    read_member(record, record_bytes, place.offset);
    at += record_bytes;
  }
  if (at != place.bytes) fail(*source_, "zip: bytes after the last directory entry", place.offset + at);

  std::vector<size_t> by_offset(members_.size());
  std::iota(by_offset.begin(), by_offset.end(), size_t{0});
  std::sort(by_offset.begin(), by_offset.end(),
            [&](size_t a, size_t b) { return local_offsets_[a] < local_offsets_[b]; });
  int64_t previous_end = 0;
  for (size_t i = 0; i < by_offset.size(); ++i) {
    const ZipMember& member = members_[by_offset[i]];
    const int64_t begin = local_offsets_[by_offset[i]];
    if (begin < previous_end)
      fail(*source_, text("zip: member '", printable(member.name), "' overlaps the one before"), begin);
    if (i == 0 && begin != 0) fail(*source_, text("zip: ", begin, " bytes before the first member"), 0);
    previous_end = member.data_offset + member.stored_bytes;
  }
  by_name_ = by_offset;
  std::sort(by_name_.begin(), by_name_.end(),
            [&](size_t a, size_t b) { return members_[a].name < members_[b].name; });
  for (size_t i = 1; i < by_name_.size(); ++i) {
    if (members_[by_name_[i]].name == members_[by_name_[i - 1]].name) {
      fail(*source_, text("zip: two members are named '", printable(members_[by_name_[i]].name), "'"),
           local_offsets_[by_name_[i]]);
    }
  }
}

void ZipArchive::read_member(const uint8_t* record, int64_t record_bytes, int64_t directory_offset) {
  ZipMember member;
  const int64_t name_bytes = load_le16(record + 28);
  const int64_t extra_bytes = load_le16(record + 30);
  PANDA_INTERNAL_ASSERT(kDirectoryBytes + name_bytes + extra_bytes <= record_bytes, record_bytes);
  member.name.assign(reinterpret_cast<const char*>(record + kDirectoryBytes),
                     static_cast<size_t>(name_bytes));
  const std::string shown = text("zip: member '", printable(member.name), "'");
  const uint16_t flags = load_le16(record + 8);
  const uint16_t method = load_le16(record + 10);
  if ((flags & kFlagEncrypted) != 0) throw Unsupported(text(source_->name(), ": ", shown, " is encrypted"));
  if (method != kStored && method != kDeflated) {
    throw Unsupported(text(source_->name(), ": ", shown, " is compressed by method ", method,
                           "; read are 0 (stored) and 8 (deflate)"));
  }
  uint64_t stored = load_le32(record + 20);
  uint64_t bytes = load_le32(record + 24);
  uint64_t local_offset = load_le32(record + 42);
  apply_zip64(*source_, record + kDirectoryBytes + name_bytes, extra_bytes, {&bytes, &stored, &local_offset},
              directory_offset);
  member.deflated = method == kDeflated;
  member.crc32 = load_le32(record + 16);
  member.stored_bytes = as_size(*source_, stored, "a member's size");
  const int64_t local = as_size(*source_, local_offset, "a member at");
  const uint64_t most = member.deflated ? static_cast<uint64_t>(member.stored_bytes) * kMaxInflation : stored;
  if (bytes > most || bytes > static_cast<uint64_t>(INT64_MAX) || (!member.deflated && bytes != stored)) {
    fail(*source_, text(shown, " declares ", bytes, " bytes, its ", stored, " stored bytes cannot give them"),
         local);
  }
  member.bytes = static_cast<int64_t>(bytes);
  check_local_header(member, local, flags, directory_offset);
  members_.push_back(std::move(member));
  local_offsets_.push_back(local);
}

void ZipArchive::check_local_header(ZipMember& member, int64_t local_offset, uint16_t flags,
                                    int64_t directory_offset) {
  const std::string shown = text("zip: member '", printable(member.name), "'");
  if (directory_offset - local_offset < kLocalBytes)
    fail(*source_, text(shown, " begins inside the directory"), local_offset);
  uint8_t header[kLocalBytes];
  source_->read(local_offset, header, kLocalBytes);
  if (load_le32(header) != kLocalSignature)
    fail(*source_, text(shown, " has no local header where the directory says"), local_offset);
  const int64_t name_bytes = load_le16(header + 26);
  const int64_t extra_bytes = load_le16(header + 28);
  member.data_offset = local_offset + kLocalBytes + name_bytes + extra_bytes;
  if (member.data_offset > directory_offset || member.stored_bytes > directory_offset - member.data_offset) {
    fail(*source_, text(shown, " runs into the directory"), local_offset);
  }
  const std::vector<uint8_t> names = source_->bytes(local_offset + kLocalBytes, name_bytes + extra_bytes);
  uint64_t stored = load_le32(header + 18);
  uint64_t bytes = load_le32(header + 22);
  const uint32_t crc = load_le32(header + 14);
  apply_zip64(*source_, names.data() + name_bytes, extra_bytes, {&bytes, &stored}, local_offset);
  const bool late = (flags & kFlagDescriptor) != 0;  // sizes may stand after the data, and be zero here
  const bool sizes_agree =
      stored == static_cast<uint64_t>(member.stored_bytes) && bytes == static_cast<uint64_t>(member.bytes);
  const bool agrees =
      load_le16(header + 6) == flags && load_le16(header + 8) == (member.deflated ? kDeflated : kStored) &&
      std::string(names.begin(), names.begin() + name_bytes) == member.name &&
      (sizes_agree || (late && stored == 0 && bytes == 0)) && (crc == member.crc32 || (late && crc == 0));
  if (!agrees) fail(*source_, text(shown, ": its local header disagrees with the directory"), local_offset);
}

const ZipMember* ZipArchive::find(const std::string& name) const {
  const auto at = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [&](size_t index, const std::string& wanted) { return members_[index].name < wanted; });
  return at != by_name_.end() && members_[*at].name == name ? &members_[*at] : nullptr;
}

struct ZipMemberReader::Inflater {
  z_stream stream{};
  uint8_t input[kChunk];
  bool ended = false;
  Inflater() { PANDA_CHECK(::inflateInit2(&stream, -MAX_WBITS) == Z_OK, "zlib cannot start"); }
  ~Inflater() { ::inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

ZipMemberReader::ZipMemberReader(ByteSourcePtr source, const ZipMember& member)
    : source_(std::move(source)), member_(member) {
  if (member_.deflated) inflater_ = std::make_unique<Inflater>();
  if (member_.bytes == 0) finish();
}

ZipMemberReader::~ZipMemberReader() = default;

void ZipMemberReader::read(void* destination, int64_t bytes) {
  if (bytes == 0) return;
  if (bytes > bytes_left()) {
    fail(*source_,
         text("zip: member '", printable(member_.name), "' ends ", bytes - bytes_left(), " bytes early"),
         member_.data_offset);
  }
  auto* out = static_cast<uint8_t*>(destination);
  constexpr int64_t kStep = int64_t{1} << 20;  // read and checksummed while in the cache
  for (int64_t done = 0; done < bytes;) {
    const int64_t step = std::min(kStep, bytes - done);
    if (inflater_ != nullptr) {
      inflate_some(out + done, step);
    } else {
      source_->read(member_.data_offset + position_, out + done, step);
    }
    crc_ = static_cast<uint32_t>(::crc32(crc_, out + done, static_cast<uInt>(step)));
    position_ += step;
    done += step;
  }
  if (bytes_left() == 0) finish();
}

void ZipMemberReader::refill() {
  const int64_t step = std::min(kChunk, member_.stored_bytes - consumed_);
  if (step > 0) source_->read(member_.data_offset + consumed_, inflater_->input, step);
  consumed_ += step;
  inflater_->stream.next_in = inflater_->input;
  inflater_->stream.avail_in = static_cast<uInt>(step);
}

void ZipMemberReader::inflate_some(void* destination, int64_t bytes) {
  z_stream& stream = inflater_->stream;
  stream.next_out = static_cast<Bytef*>(destination);
  stream.avail_out = static_cast<uInt>(bytes);
  while (stream.avail_out > 0) {
    if (stream.avail_in == 0) refill();
    const int result = ::inflate(&stream, Z_NO_FLUSH);
    if (result == Z_STREAM_END) inflater_->ended = true;
    if (result != Z_OK && !(result == Z_STREAM_END && stream.avail_out == 0)) {
      fail(*source_, text("zip: member '", printable(member_.name), "' does not inflate to its size"),
           member_.data_offset + consumed_ - stream.avail_in);
    }
  }
}

void ZipMemberReader::finish() {
  const std::string shown = text("zip: member '", printable(member_.name), "'");
  if (inflater_ != nullptr && !inflater_->ended) {
    // All bytes are out; what is left may only be the stream's end mark.
    uint8_t one = 0;
    z_stream& stream = inflater_->stream;
    int result = Z_OK;
    while (result == Z_OK) {
      if (stream.avail_in == 0) refill();
      stream.next_out = &one;
      stream.avail_out = 1;
      result = ::inflate(&stream, Z_NO_FLUSH);  // without input left: Z_BUF_ERROR, unless the stream ends
      if (stream.avail_out == 0) {
        fail(*source_, text(shown, " inflates to more than its ", member_.bytes, " bytes"),
             member_.data_offset);
      }
    }
    inflater_->ended = result == Z_STREAM_END;
    if (!inflater_->ended) fail(*source_, text(shown, " has a broken deflate stream"), member_.data_offset);
  }
  if (inflater_ != nullptr && (consumed_ != member_.stored_bytes || inflater_->stream.avail_in != 0)) {
    fail(*source_, text(shown, " has bytes after its deflate stream"), member_.data_offset);
  }
  if (member_.crc32 != 0 && crc_ != member_.crc32) {
    fail(*source_, text(shown, " is damaged: its checksum is ", crc_, ", expected ", member_.crc32),
         member_.data_offset);
  }
}

std::vector<uint8_t> read_zip_member(const ByteSourcePtr& source, const ZipMember& member,
                                     int64_t limit_bytes) {
  if (member.bytes > limit_bytes) {
    fail(*source,
         text("zip: member '", printable(member.name), "' has ", member.bytes, " bytes, at most ",
              limit_bytes),
         member.data_offset);
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(member.bytes));
  ZipMemberReader reader(source, member);
  reader.read(bytes.data(), member.bytes);
  return bytes;
}

}  // namespace panda::weights
