// Reads Python pickles without calling anything: the result is a tree of values in which every class and
// function is a name and every call is a record of what would have been called with what. What the names may
// be is the caller's list; the rest is refused.
//
// Protocols 2 and 3, and of them the opcodes that PyTorch's checkpoints use; memo and stack behave as in
// CPython. Nodes live in one arena and refer to each other by index, so that cycles and depth cost nothing
// when it is freed. Source: CPython Lib/pickle.py and Lib/pickletools.py (the description of the opcodes).
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "weights/byte_source.h"

namespace panda::weights {

/// Index into PickleTree::nodes.
using PickleId = uint32_t;

struct PickleNode {
  enum class Kind : uint8_t {
    kNone,
    kBool,        // integer
    kInt,         // integer
    kBigInt,      // string: little-endian two's complement, more than 8 bytes
    kFloat,       // integer: the bits of a double
    kString,      // string, UTF-8
    kTuple,       // items
    kList,        // items
    kDict,        // items: key, value, key, value, ... (also an OrderedDict)
    kGlobal,      // string: "module.name"
    kCall,        // items: the global, the tuple of arguments, and the state given to it, if any
    kPersistent,  // items: the persistent id
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  int64_t offset = 0;  // in the file, for messages
  std::string string;
  std::vector<PickleId> items;
};

struct PickleTree {
  std::deque<PickleNode> nodes;  // grows without holding everything twice
  PickleId root = 0;
  int64_t end = 0;  // offset in the file after the STOP

  [[nodiscard]] const PickleNode& operator[](PickleId id) const { return nodes[id]; }
  [[nodiscard]] const PickleNode& root_node() const { return nodes[root]; }
};

/// Parses the pickle that begins at `begin`; it must end before `end` (bytes after its STOP are not looked
/// at). `allowed` are the globals, as "module.name", that it may name; any other throws FormatError naming it
/// and its byte. Memory is a constant times the bytes read; at most 1e6 nodes and entries on the stack and in
/// the memo.
[[nodiscard]] PickleTree parse_pickle(const ByteSource& source, int64_t begin, int64_t end,
                                      const std::vector<std::string>& allowed);

/// "int", "dict", ... for messages.
[[nodiscard]] const char* pickle_kind_name(PickleNode::Kind kind);

}  // namespace panda::weights
