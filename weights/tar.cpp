#include "weights/tar.h"

#include <algorithm>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

constexpr int64_t kBlock = 512;

/// An octal number between spaces, ended by NUL or space; -1 if it is none.
int64_t octal(const uint8_t* field, int length) {
  int i = 0;
  while (i < length && field[i] == ' ') ++i;
  int64_t value = 0;
  const int first = i;
  for (; i < length && field[i] >= '0' && field[i] <= '7'; ++i) value = value * 8 + (field[i] - '0');
  if (i == first) return -1;
  for (; i < length; ++i) {
    if (field[i] != 0 && field[i] != ' ') return -1;
  }
  return value;
}

/// The header's checksum is the sum of its bytes with its own field as spaces.
bool checksum_is_right(const uint8_t* block) {
  int64_t sum = 0;
  for (int i = 0; i < kBlock; ++i) sum += i >= 148 && i < 156 ? ' ' : block[i];
  return octal(block + 148, 8) == sum;
}

std::string name_of(const uint8_t* block) {
  std::string name;
  for (int i = 0; i < 100 && block[i] != 0; ++i) name += static_cast<char>(block[i]);
  return name.rfind("./", 0) == 0 ? name.substr(2) : name;
}

}  // namespace

bool looks_like_tar(const ByteSource& source) {
  if (source.size() < kBlock) return false;
  return checksum_is_right(source.bytes(0, kBlock).data());
}

std::vector<TarMember> read_tar(const ByteSource& source) {
  std::vector<TarMember> members;
  int64_t at = 0;
  while (at < source.size()) {
    if (source.size() - at < kBlock) throw FormatError(source.name(), "tar: ends inside a header", at);
    const std::vector<uint8_t> block = source.bytes(at, kBlock);
    if (std::all_of(block.begin(), block.end(), [](uint8_t b) { return b == 0; }))
      return members;  // the end mark
    if (!checksum_is_right(block.data()))
      throw FormatError(source.name(), "tar: a header's checksum is wrong", at);
    const int64_t bytes = octal(&block[124], 12);
    const char type = static_cast<char>(block[156]);
    const std::string name = name_of(block.data());
    if (bytes < 0 || bytes > source.size() - at - kBlock) {
      throw FormatError(source.name(),
                        text("tar: member '", printable(name), "' is larger than what follows"), at);
    }
    if (type == '0' || type == '\0') {
      for (const TarMember& member : members) {
        if (member.name == name)
          throw FormatError(source.name(), text("tar: two members are named '", printable(name), "'"), at);
      }
      if (members.size() >= 1000) throw FormatError(source.name(), "tar: more than 1000 members", at);
      members.push_back({name, at + kBlock, bytes});
    } else if (type != '5' && type != 'x' && type != 'g') {
      throw FormatError(source.name(), text("tar: member '", printable(name), "' is no plain file"), at);
    }
    at += kBlock + (bytes + kBlock - 1) / kBlock * kBlock;
  }
  throw FormatError(source.name(), "tar: no end mark (is the file cut short?)", source.size());
}

}  // namespace panda::weights
