// Builds zip archives field by field, so that a test can lie in any of them.
#pragma once

#include <zlib.h>

#include <functional>
#include <string>
#include <vector>

namespace panda::weights::test {

struct ZipPart {
  std::string name;
  std::string stored;  // the bytes in the file
  uint16_t method = 0;
  uint16_t flags = 0;
  uint32_t crc = 0;
  uint32_t bytes = 0;  // after inflating
  std::string local_extra;
  std::string central_extra;
};

inline ZipPart stored_part(const std::string& name, const std::string& data) {
  ZipPart part;
  part.name = name;
  part.stored = data;
  part.bytes = static_cast<uint32_t>(data.size());
  part.crc = static_cast<uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size())));
  return part;
}

inline ZipPart deflated_part(const std::string& name, const std::string& data) {
  ZipPart part = stored_part(name, data);
  part.method = 8;
  std::string out(::compressBound(static_cast<uLong>(data.size())) + 64, '\0');
  z_stream stream{};
  ::deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  part.stored = out;
  return part;
}

inline std::string le(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

inline std::string local_header(const ZipPart& part) {
  return "PK\x03\x04" + le(20, 2) + le(part.flags, 2) + le(part.method, 2) + le(0, 4) + le(part.crc, 4) +
         le(part.stored.size(), 4) + le(part.bytes, 4) + le(part.name.size(), 2) +
         le(part.local_extra.size(), 2) + part.name + part.local_extra;
}

inline std::string central_header(const ZipPart& part, uint32_t offset) {
  return "PK\x01\x02" + le(20, 2) + le(20, 2) + le(part.flags, 2) + le(part.method, 2) + le(0, 4) +
         le(part.crc, 4) + le(part.stored.size(), 4) + le(part.bytes, 4) + le(part.name.size(), 2) +
         le(part.central_extra.size(), 2) + le(0, 2) + le(0, 2) + le(0, 2) + le(0, 4) + le(offset, 4) +
         part.name + part.central_extra;
}

inline std::string end_record(size_t count, size_t bytes, size_t offset) {
  return "PK\x05\x06" + le(0, 4) + le(count, 2) + le(count, 2) + le(bytes, 4) + le(offset, 4) + le(0, 2);
}

/// `lie` may change the central directory's idea of a part.
inline std::vector<uint8_t> build_zip(const std::vector<ZipPart>& parts,
                                      const std::function<void(ZipPart&, uint32_t&)>& lie = {}) {
  std::string file;
  std::string directory;
  for (const ZipPart& part : parts) {
    auto offset = static_cast<uint32_t>(file.size());
    file += local_header(part) + part.stored;
    ZipPart told = part;
    if (lie) lie(told, offset);
    directory += central_header(told, offset);
  }
  file += directory + end_record(parts.size(), directory.size(), file.size());
  return {file.begin(), file.end()};
}

}  // namespace panda::weights::test
