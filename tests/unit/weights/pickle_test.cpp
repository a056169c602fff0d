#include "weights/pickle.h"

#include <bit>

#include "tests/unit/weights/weights_test_tools.h"
#include "weights/torch_tree.h"

namespace panda::weights {
namespace {

using Kind = PickleNode::Kind;
using std::string_literals::operator""s;

PickleTree parse(const std::string& pickle) {
  const ByteSourcePtr source = borrowed_source(pickle.data(), static_cast<int64_t>(pickle.size()), "p");
  return parse_pickle(*source, 0, source->size(), torch_globals());
}

/// `walk` of a pickle as a checkpoint's.
void read_tree(const std::string& pickle) {
  const ByteSourcePtr source = borrowed_source(pickle.data(), static_cast<int64_t>(pickle.size()), "p");
  const PickleTree tree = parse_pickle(*source, 0, source->size(), torch_globals());
  (void)read_torch_tree(*source, tree, tree.end);
}

TEST(Pickle, ReadsValues) {
  EXPECT_EQ(parse("\x80\x02N."s).root_node().kind, Kind::kNone);
  EXPECT_EQ(parse("K\xff."s).root_node().integer, 255);
  EXPECT_EQ(parse("M\x01\x02."s).root_node().integer, 0x201);
  EXPECT_EQ(parse("J\xfe\xff\xff\xff."s).root_node().integer, -2);
  EXPECT_EQ(parse("\x8a\x00."s).root_node().integer, 0);
  EXPECT_EQ(parse("\x8a\x01\x80."s).root_node().integer, -128);
  EXPECT_EQ(parse("\x8a\x02\x80\x00."s).root_node().integer, 128);
  EXPECT_EQ(parse("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80."s).root_node().integer, INT64_MIN);
  EXPECT_EQ(parse("\x8a\x09\x01\x00\x00\x00\x00\x00\x00\x00\x80."s).root_node().kind, Kind::kBigInt);
  EXPECT_EQ(std::bit_cast<double>(parse("G\x3f\xf8\x00\x00\x00\x00\x00\x00."s).root_node().integer), 1.5);
  EXPECT_EQ(parse("X\x02\x00\x00\x00\xc3\xa9."s).root_node().string, "\xc3\xa9");
  const PickleTree nested = parse("}(U\x01"s + "aK\x01U\x01"s + "b]q\x00(h\x00K\x02"s +
                                  "eu."s);  // {"a": 1, "b": list holding itself and 2}
  ASSERT_EQ(nested.root_node().items.size(), 4U);
  const PickleNode& list = nested[nested.root_node().items[3]];
  ASSERT_EQ(list.kind, Kind::kList);
  EXPECT_EQ(list.items[0], nested.root_node().items[3]) << "a cycle stays a cycle";
}

TEST(Pickle, RefusesWhatCPythonRefuses) {
  EXPECT_ERROR_CONTAINS(parse(""), "ends before its STOP");
  EXPECT_ERROR_CONTAINS(parse("."), "stops with 0 values");
  EXPECT_ERROR_CONTAINS(parse("NN."), "stops with 2 values");
  EXPECT_ERROR_CONTAINS(parse("N(."), "stops with 1 values");
  EXPECT_ERROR_CONTAINS(parse("K"), "ends before its STOP");
  EXPECT_ERROR_CONTAINS(parse("a."), "takes from an empty stack");
  EXPECT_ERROR_CONTAINS(parse("N(\x85."), "takes from an empty stack");  // not through a mark
  EXPECT_ERROR_CONTAINS(parse("Nt."), "takes down to a mark, and there is none");
  EXPECT_ERROR_CONTAINS(parse("NNa."), "appends to a None");
  EXPECT_ERROR_CONTAINS(parse("](Nu."), "sets items of a list");
  EXPECT_ERROR_CONTAINS(parse("}(Nu."), "a key without a value");
  EXPECT_ERROR_CONTAINS(parse("h\x05."), "asks for the remembered value 5");
  EXPECT_ERROR_CONTAINS(parse("N)R."), "wants to call a None");
  EXPECT_ERROR_CONTAINS(parse("X\xff\xff\xff\xff."), "a string of 4294967295 bytes, 1 are left");
  EXPECT_ERROR_CONTAINS(parse("U\x01\xff."), "not UTF-8");
  EXPECT_ERROR_CONTAINS(parse("X\x03"s + "\x00\x00\x00\xed\xa0\x80."s), "not UTF-8");
  EXPECT_ERROR_CONTAINS(parse("\x80\x05N."), "protocol 5, expected 2");
  EXPECT_ERROR_CONTAINS(parse("\x95."), "opcode 0x95");
  EXPECT_ERROR_CONTAINS(parse("c" + std::string(100000, 'a')), "a name of more than 256 bytes");
  EXPECT_ERROR_CONTAINS(parse("cos\nsystem\n."),
                        "refused: pickle wants to call os.system (byte 0); only tensors are read");
  EXPECT_ERROR_CONTAINS(parse("cos\n\x1b[2J\n."), "os.\\x1b[2J");
  EXPECT_ERROR_CONTAINS(parse("ctorch\nFloatTensor\nNR."), "calls with a None, expected a tuple");
  EXPECT_ERROR_CONTAINS(parse("NNb."), "sets attributes of a None");
}

TEST(Pickle, CapsHoldAgainstHugeInput) {
  EXPECT_ERROR_CONTAINS(parse(std::string(3'000'000, '}')), "more than 1000000 values");
  EXPECT_ERROR_CONTAINS(parse("Nq"s + std::string(1, '\0') +
                              [] {
                                std::string gets;
                                for (int i = 0; i < 1'200'000; ++i) gets += "h"s + std::string(1, '\0');
                                return gets;
                              }()),
                        "more than 1000000 values on the stack");
  EXPECT_ERROR_CONTAINS(parse(std::string(3'000'000, '(')), "more than 1000000 marks");
}

TEST(TorchTree, NestingAndRepetitionAreBounded) {
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "]";
  for (int i = 0; i < 999; ++i) deep += "a";
  EXPECT_ERROR_CONTAINS(read_tree(deep + "."), "values nest deeper than 64");
  EXPECT_ERROR_CONTAINS(read_tree("]q"s + '\0' + "h"s + '\0' + "a."),
                        "values nest deeper than 64");  // holds itself
  // Lists of ten times the list before: 10^30 leaves in 600 bytes.
  std::string bomb = "]q"s + '\0';
  for (char level = 1; level < 30; ++level) {
    bomb += "](";
    for (int i = 0; i < 10; ++i) bomb += "h"s + static_cast<char>(level - 1);
    bomb += "eq"s + level;
  }
  bomb += "(";
  for (int i = 0; i < 29; ++i) bomb += "0";  // the marks and lists below are dropped again
  EXPECT_NE(test::error_of([&] { read_tree(bomb + "."); }), "");
  std::string chain = "("s + bomb.substr(0, bomb.find_last_of('(')) + "t.";
  EXPECT_ERROR_CONTAINS(read_tree(chain), "repeats its parts more often than its size allows");
  EXPECT_ERROR_CONTAINS(read_tree("}."), "a checkpoint without tensors");
  EXPECT_ERROR_CONTAINS(read_tree("})Ns."), "a dict has a tuple as its key");
  EXPECT_ERROR_CONTAINS(read_tree("}X\x01\x02\x00\x00"s + std::string(513, 'a') + "Ns."),
                        "a name of more than 512 bytes");
}

std::string tensor_pickle(const std::string& offset, const std::string& size, const std::string& stride,
                          const std::string& numel = "K\x06") {
  const std::string storage = "(U\x07storagectorch\nFloatStorage\nU\x01"s + "0U\x03"s + "cpu"s + numel + "tQ";
  return "ctorch._utils\n_rebuild_tensor_v2\n("s + storage + offset + size + stride + "\x89}tR.";
}

TEST(TorchTree, EveryElementMustLieInsideItsStorage) {
  EXPECT_NO_THROW(read_tree(tensor_pickle("K"s + '\0', "K\x02K\x03\x86", "K\x03K\x01\x86")));
  EXPECT_NO_THROW(read_tree(tensor_pickle("K\x05", "K\x01\x85", "K\x63\x85")))
      << "the stride of one element does not count";
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("K\x01", "K\x02K\x03\x86", "K\x03K\x01\x86")),
                        "reaches outside its storage of 6");
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("K"s + '\0', "K\x02K\x03\x86", "K\x04K\x01\x86")),
                        "reaches outside its storage of 6");
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("K\x06", ")", ")")), "reaches outside its storage of 6");
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("J\xff\xff\xff\xff", ")", ")")), "offset is no integer >= 0");
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("K"s + '\0', "K\x02\x85", "J\xff\xff\xff\xff\x85")),
                        "stride is no integer >= 0");
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("K"s + '\0', "K\x02\x85", ")")), "has 0 strides");
  const std::string huge = "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"s;
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle(huge, "K\x02\x85", "K\x01\x85")), "reaches outside");
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("K"s + '\0', "K\x02\x85", huge + "\x85")), "reaches outside");
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("K\x01", "K\x03\x85", huge + "\x85")), "reaches outside");
  EXPECT_ERROR_CONTAINS(
      read_tree(tensor_pickle("K"s + '\0', huge + huge + "\x86", "K"s + '\0' + "K"s + '\0' + "\x86")),
      "overflow");
  EXPECT_ERROR_CONTAINS(read_tree(tensor_pickle("K"s + '\0', huge + "\x85", "K"s + '\0' + "\x85")),
                        "an expanded tensor");
}

// A model of the check: the largest index, in 128 bits.
TEST(TorchTree, RandomShapesAndStridesAgreeWithWideArithmetic) {
  Random random(7);
  int accepted = 0;
  for (int round = 0; round < 200'000; ++round) {
    TorchTensor tensor;
    const auto draw = [&](bool wild) {
      if (!wild) return random.next_below(5);
      return static_cast<int64_t>(random.next_u64() >> random.next_below(64));
    };
    std::vector<int64_t> extents;
    const int64_t rank = random.next_below(4);
    for (int64_t d = 0; d < rank; ++d) {
      extents.push_back(draw(random.next_below(8) == 0) & INT64_MAX);
      tensor.strides.push_back(draw(random.next_below(8) == 0));
    }
    tensor.storage_offset = draw(random.next_below(8) == 0);
    const int64_t storage = draw(random.next_below(2) == 0) & INT64_MAX;
    try {
      tensor.shape = Shape(extents);
    } catch (const InvalidArgument&) {
      continue;
    }
    __extension__ using Wide = __int128;
    Wide last = tensor.storage_offset;
    bool inside =
        tensor.storage_offset >= 0 && tensor.storage_offset <= storage && tensor.shape.numel() <= storage;
    for (size_t d = 0; d < extents.size() && !tensor.shape.empty(); ++d) {
      last += Wide{extents[d] - 1} * tensor.strides[d];
      inside = inside && tensor.strides[d] >= 0;
    }
    inside = inside && (tensor.shape.empty() || last < storage);
    const bool passed = test::error_of([&] { check_inside_storage(tensor, storage, "s"); }).empty();
    ASSERT_EQ(passed, inside) << tensor.shape << " offset " << tensor.storage_offset << " storage "
                              << storage;
    accepted += passed ? 1 : 0;
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace panda::weights
