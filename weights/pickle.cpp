#include "weights/pickle.h"

#include <algorithm>
#include <unordered_map>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

using Kind = PickleNode::Kind;

constexpr size_t kMaxStack = 1'000'000;
constexpr size_t kMaxMemo = 1'000'000;
constexpr size_t kMaxNodes = 1'000'000;
constexpr int64_t kFirstWindow = 512;  // grows: a file may be a row of a million tiny pickles
constexpr int64_t kLargestWindow = 1 << 16;
constexpr int64_t kMaxGlobalBytes = 256;

bool is_utf8(const std::string& s) {
  for (size_t i = 0; i < s.size();) {
    const auto lead = static_cast<unsigned char>(s[i]);
    const int more = lead < 0x80   ? 0
                     : lead < 0xc2 ? -1
                     : lead < 0xe0 ? 1
                     : lead < 0xf0 ? 2
                     : lead < 0xf5 ? 3
                                   : -1;
    if (more < 0 || s.size() - i <= static_cast<size_t>(more)) return false;
    for (int k = 1; k <= more; ++k) {
      if ((static_cast<unsigned char>(s[i + static_cast<size_t>(k)]) & 0xc0) != 0x80) return false;
    }
    const auto second = more > 0 ? static_cast<unsigned char>(s[i + 1]) : 0;
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
      return false;  // overlong, a surrogate, or above U+10FFFF
    }
    i += static_cast<size_t>(more) + 1;
  }
  return true;
}

/// Bytes in order, through a window.
class Stream {
 public:
  Stream(const ByteSource& source, int64_t begin, int64_t end)
      : source_(source), position_(begin), end_(end) {}

  [[nodiscard]] int64_t position() const { return position_; }
  [[nodiscard]] uint8_t byte() {
    if (position_ >= window_begin_ + static_cast<int64_t>(window_.size())) refill();
    return window_[static_cast<size_t>(position_++ - window_begin_)];
  }
  [[nodiscard]] uint64_t little_endian(int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(byte()) << (8 * i);
    return value;
  }
  [[nodiscard]] std::string string(uint64_t bytes) {
    if (bytes > static_cast<uint64_t>(end_ - position_)) {
      throw FormatError(source_.name(),
                        text("pickle: a string of ", bytes, " bytes, ", end_ - position_, " are left"),
                        position_);
    }
    std::string result(static_cast<size_t>(bytes), '\0');
    source_.read(position_, result.data(), static_cast<int64_t>(bytes));
    position_ += static_cast<int64_t>(bytes);
    return result;
  }
  [[nodiscard]] std::string line() {
    std::string result;
    for (char c = static_cast<char>(byte()); c != '\n'; c = static_cast<char>(byte())) {
      if (static_cast<int64_t>(result.size()) >= kMaxGlobalBytes) {
        throw FormatError(source_.name(), text("pickle: a name of more than ", kMaxGlobalBytes, " bytes"),
                          position_);
      }
      result += c;
    }
    return result;
  }

 private:
  void refill() {
    if (position_ >= end_) throw FormatError(source_.name(), "pickle: ends before its STOP", position_);
    window_begin_ = position_;
    window_ = source_.bytes(position_, std::min(next_window_, end_ - position_));
    next_window_ = std::min(2 * next_window_, kLargestWindow);
  }

  const ByteSource& source_;
  int64_t position_;
  int64_t end_;
  int64_t window_begin_ = 0;
  int64_t next_window_ = kFirstWindow;
  std::vector<uint8_t> window_;
};

class Parser {
 public:
  Parser(const ByteSource& source, int64_t begin, int64_t end, const std::vector<std::string>& allowed)
      : source_(source), stream_(source, begin, end), allowed_(allowed) {}

  PickleTree parse() {
    while (step()) {
    }
    tree_.end = stream_.position();
    return std::move(tree_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(source_.name(), "pickle: " + what, at_);
  }

  PickleNode& add(Kind kind) {
    if (tree_.nodes.size() >= kMaxNodes) fail(text("more than ", kMaxNodes, " values"));
    push(static_cast<PickleId>(tree_.nodes.size()));
    PickleNode& node = tree_.nodes.emplace_back();
    node.kind = kind;
    node.offset = at_;
    return node;
  }
  void push(PickleId id) {
    if (stack_.size() >= kMaxStack) fail(text("more than ", kMaxStack, " values on the stack"));
    stack_.push_back(id);
  }
  PickleId pop() {
    if (stack_.size() <= floor()) fail("takes from an empty stack");
    const PickleId id = stack_.back();
    stack_.pop_back();
    return id;
  }
  PickleId top() {
    if (stack_.size() <= floor()) fail("takes from an empty stack");
    return stack_.back();
  }
  /// The stack's height at the last mark: plain pops do not reach below it.
  [[nodiscard]] size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  std::vector<PickleId> pop_to_mark() {
    if (marks_.empty()) fail("takes down to a mark, and there is none");
    const size_t mark = marks_.back();
    marks_.pop_back();
    std::vector<PickleId> items(stack_.begin() + static_cast<std::ptrdiff_t>(mark), stack_.end());
    stack_.resize(mark);
    return items;
  }
  PickleNode& node(PickleId id) { return tree_.nodes[id]; }

  void integer(int64_t value) { add(Kind::kInt).integer = value; }
  void string(uint64_t bytes) {
    std::string value = stream_.string(bytes);
    if (!is_utf8(value)) fail("a string that is not UTF-8");
    add(Kind::kString).string = std::move(value);
  }
  void tuple(int count) {
    std::vector<PickleId> items(static_cast<size_t>(count));
    for (int i = count - 1; i >= 0; --i) items[static_cast<size_t>(i)] = pop();
    add(Kind::kTuple).items = std::move(items);
  }
  void append(std::vector<PickleId> values) {
    PickleNode& list = node(top());
    if (list.kind != Kind::kList) fail(text("appends to a ", pickle_kind_name(list.kind)));
    list.items.insert(list.items.end(), values.begin(), values.end());
  }
  void set_items(const std::vector<PickleId>& pairs) {
    PickleNode& dict = node(top());
    if (dict.kind != Kind::kDict) fail(text("sets items of a ", pickle_kind_name(dict.kind)));
    if (pairs.size() % 2 != 0) fail("a key without a value");
    dict.items.insert(dict.items.end(), pairs.begin(), pairs.end());
  }
  void put(uint64_t key) {
    if (memo_.size() >= kMaxMemo) fail(text("more than ", kMaxMemo, " remembered values"));
    memo_[key] = top();
  }
  void get(uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail(text("asks for the remembered value ", key, ", and there is none"));
    push(found->second);
  }

  void long1() {
    const uint8_t bytes = stream_.byte();
    const std::string raw = stream_.string(bytes);
    if (bytes > 8) {
      add(Kind::kBigInt).string = raw;
      return;
    }
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i)
      value |= static_cast<uint64_t>(static_cast<uint8_t>(raw[static_cast<size_t>(i)])) << (8 * i);
    if (bytes > 0 && bytes < 8 && (value >> (8 * bytes - 1)) != 0) value |= ~uint64_t{0} << (8 * bytes);
    integer(static_cast<int64_t>(value));
  }

  void global() {
    const std::string module = stream_.line();
    const std::string full = module + "." + stream_.line();
    if (std::find(allowed_.begin(), allowed_.end(), full) == allowed_.end()) {
      throw FormatError(source_.name(), text("refused: pickle wants to call ", printable(full), " (byte ",
                                             at_, "); only tensors are read"));
    }
    add(Kind::kGlobal).string = full;
  }

  void reduce() {
    const PickleId arguments = pop();
    const PickleId callable = pop();
    if (node(callable).kind != Kind::kGlobal)
      fail(text("wants to call a ", pickle_kind_name(node(callable).kind)));
    if (node(arguments).kind != Kind::kTuple)
      fail(text("calls with a ", pickle_kind_name(node(arguments).kind), ", expected a tuple"));
    if (node(callable).string == "collections.OrderedDict") {
      if (!node(arguments).items.empty()) fail("an OrderedDict with arguments");
      add(Kind::kDict);
      return;
    }
    add(Kind::kCall).items = {callable, arguments};
  }

  /// Attributes of an OrderedDict (PyTorch keeps its modules' versions there) are dropped; a call keeps its
  /// state.
  void build() {
    const PickleId state = pop();
    const PickleId built = top();
    const Kind target = node(built).kind;
    if (target != Kind::kDict && target != Kind::kCall)
      fail(text("sets attributes of a ", pickle_kind_name(target)));
    if (node(state).kind != Kind::kDict && node(state).kind != Kind::kTuple)
      fail(text("sets attributes from a ", pickle_kind_name(node(state).kind)));
    if (target == Kind::kCall) {
      if (node(built).items.size() != 2) fail("sets the attributes of an object twice");
      node(built).items.push_back(state);
    }
  }

  bool step();
  bool step_value(uint8_t opcode);
  [[noreturn]] void unknown(uint8_t opcode) const;

  const ByteSource& source_;
  Stream stream_;
  const std::vector<std::string>& allowed_;
  PickleTree tree_;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleId> memo_;
  int64_t at_ = 0;
};

void Parser::unknown(uint8_t opcode) const {
  constexpr const char* kHex = "0123456789abcdef";
  const std::string code = {'0', 'x', kHex[opcode >> 4], kHex[opcode & 15]};
  switch (opcode) {
    case 'i':
    case 'o':
    case 0x92:
    case 0x93:
      fail(text("refused: opcode ", code,
                " names what to call in a way that checkpoints do not use; only tensors are read"));
    case 0x82:
    case 0x83:
    case 0x84:
      fail(text("refused: opcode ", code, " asks for a registered extension; only tensors are read"));
    default:
      fail(text("opcode ", code, " is not one that a checkpoint of protocol 2 has"));
  }
}

bool Parser::step() {
  at_ = stream_.position();
  const uint8_t opcode = stream_.byte();
  switch (opcode) {
    case 0x80: {  // PROTO
      const int protocol = stream_.byte();
      if (protocol != 2 && protocol != 3)
        fail(text("protocol ", protocol, ", expected 2 (torch.save's own)"));
      return true;
    }
    case '.':  // STOP
      if (stack_.size() != 1 || !marks_.empty())
        fail(text("stops with ", stack_.size(), " values, expected 1"));
      tree_.root = stack_.back();
      return false;
    case '(':  // MARK
      if (marks_.size() >= kMaxStack) fail(text("more than ", kMaxStack, " marks"));
      marks_.push_back(stack_.size());
      return true;
    case 't': {  // TUPLE
      std::vector<PickleId> items = pop_to_mark();
      add(Kind::kTuple).items = std::move(items);
      return true;
    }
    case 'a':  // APPEND
      append({pop()});
      return true;
    case 'e':  // APPENDS
      append(pop_to_mark());
      return true;
    case 's': {  // SETITEM
      const PickleId value = pop();
      const PickleId key = pop();
      set_items({key, value});
      return true;
    }
    case 'u':  // SETITEMS
      set_items(pop_to_mark());
      return true;
    case 'c':
      global();
      return true;
    case 'R':   // REDUCE
    case 0x81:  // NEWOBJ: the same record
      reduce();
      return true;
    case 'b':
      build();
      return true;
    case 'Q': {  // BINPERSID
      const PickleId id = pop();
      add(Kind::kPersistent).items = {id};
      return true;
    }
    case 'q':  // BINPUT
      put(stream_.byte());
      return true;
    case 'r':  // LONG_BINPUT
      put(stream_.little_endian(4));
      return true;
    case 'h':  // BINGET
      get(stream_.byte());
      return true;
    case 'j':  // LONG_BINGET
      get(stream_.little_endian(4));
      return true;
    case '0':  // POP
      if (stack_.size() > floor()) {
        stack_.pop_back();
      } else if (!marks_.empty()) {
        marks_.pop_back();
      } else {
        fail("takes from an empty stack");
      }
      return true;
    default:
      return step_value(opcode);
  }
}

bool Parser::step_value(uint8_t opcode) {
  switch (opcode) {
    case 'N':
      add(Kind::kNone);
      return true;
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      add(Kind::kBool).integer = opcode == 0x88 ? 1 : 0;
      return true;
    case 'J':  // BININT
      integer(static_cast<int32_t>(static_cast<uint32_t>(stream_.little_endian(4))));
      return true;
    case 'K':  // BININT1
      integer(stream_.byte());
      return true;
    case 'M':  // BININT2
      integer(static_cast<int64_t>(stream_.little_endian(2)));
      return true;
    case 0x8a:
      long1();
      return true;
    case 'G': {  // BINFLOAT, big-endian
      uint64_t bits = 0;
      for (int i = 0; i < 8; ++i) bits = bits << 8 | stream_.byte();
      add(Kind::kFloat).integer = static_cast<int64_t>(bits);
      return true;
    }
    case 'X':  // BINUNICODE
    case 'T':  // BINSTRING (Python 2)
      string(stream_.little_endian(4));
      return true;
    case 'U':  // SHORT_BINSTRING
      string(stream_.byte());
      return true;
    case ')':
      add(Kind::kTuple);
      return true;
    case 0x85:
    case 0x86:
    case 0x87:
      tuple(opcode - 0x84);
      return true;
    case ']':
      add(Kind::kList);
      return true;
    case '}':
      add(Kind::kDict);
      return true;
    default:
      unknown(opcode);
  }
}

}  // namespace

PickleTree parse_pickle(const ByteSource& source, int64_t begin, int64_t end,
                        const std::vector<std::string>& allowed) {
  PANDA_INTERNAL_ASSERT(begin >= 0 && begin <= end && end <= source.size(), begin, "..", end);
  return Parser(source, begin, end, allowed).parse();
}

const char* pickle_kind_name(Kind kind) {
  switch (kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "string";
    case Kind::kTuple:
      return "tuple";
    case Kind::kList:
      return "list";
    case Kind::kDict:
      return "dict";
    case Kind::kGlobal:
      return "class or function";
    case Kind::kCall:
      return "called object";
    case Kind::kPersistent:
      return "storage";
  }
  return "value";
}

}  // namespace panda::weights
