#include "weights/weights_file.h"

#include <algorithm>
#include <string_view>

#include "kernels/tensor/error.h"
#include "weights/npy.h"
#include "weights/safetensors.h"
#include "weights/tar.h"
#include "weights/torch_checkpoint.h"
#include "weights/zip.h"

namespace panda::weights {
namespace {

using std::string_view_literals::operator""sv;

constexpr const char* kExpected = "expected safetensors, a PyTorch checkpoint (.pth, .pt) or .npz";

struct Impostor {
  int64_t offset;
  std::string_view begin;
  const char* what;
};

constexpr Impostor kImpostors[] = {
    {0, "version https://git-lfs"sv, "a git-lfs pointer, not the file itself (run `git lfs pull`)"},
    {0, "\x1f\x8b"sv, "gzip-compressed (unpack it first)"},
    {0, "BZh"sv, "bzip2-compressed (unpack it first)"},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "xz-compressed (unpack it first)"},
    {0, "\x28\xb5\x2f\xfd"sv, "zstd-compressed (unpack it first)"},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7z archive (unpack it first)"},
    {0, "Rar!"sv, "a RAR archive (unpack it first)"},
    {0,
     "\x7f"
     "ELF"sv,
     "a program or library (ELF)"},
    {0, "MZ"sv, "a Windows program"},
    {0, "#!"sv, "a script"},
    {0, "GGUF"sv, "a GGUF model, which holds other networks"},
    {0, "\x89HDF\r\n\x1a\n"sv, "an HDF5 file (Keras?)"},
    {0, "\x89PNG"sv, "a PNG image"},
    {0, "\xff\xd8\xff"sv, "a JPEG image"},
    {0, "%PDF"sv, "a PDF document"},
    {0, "\x93NUMPY"sv, "a single array (.npy) without a name"},
    {4, "TFL3"sv, "a TensorFlow Lite model"},
    {0, "{"sv, "JSON text (an index of a model in parts?)"},
    {0, "<"sv, "an HTML or XML page (a download that failed?)"},
};

bool has_at(const std::vector<uint8_t>& bytes, int64_t offset, std::string_view wanted) {
  const auto from = static_cast<size_t>(offset);
  return bytes.size() >= from + wanted.size() &&
         std::equal(wanted.begin(), wanted.end(), bytes.begin() + offset,
                    [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
}

bool is_blank(uint8_t byte) {
  return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

/// A safetensors file has its length, small, then '{' or blanks before one.
bool looks_like_safetensors(const std::vector<uint8_t>& head) {
  if (head.size() < 9 || (head[8] != '{' && !is_blank(head[8]))) return false;
  return load_le64(head.data()) <=
         0xffffffff;  // beyond the limit too: then its own message is the better one
}

WeightsKind sniff_zip(const ByteSourcePtr& source) {
  const ZipArchive archive(source);
  bool all_npy = true;
  for (const ZipMember& member : archive.members()) {
    const std::string& name = member.name;
    if (name == "data.pkl" || (name.size() > 9 && name.substr(name.size() - 9) == "/data.pkl"))
      return WeightsKind::kTorchZip;
    all_npy = all_npy && name.size() > 4 && name.substr(name.size() - 4) == ".npy";
  }
  if (all_npy) return WeightsKind::kNpz;
  throw FormatError(source->name(), text("a zip archive without data.pkl or .npy files; ", kExpected));
}

[[noreturn]] void name_impostor(const ByteSource& source, const std::vector<uint8_t>& head) {
  size_t first = 0;
  while (first < head.size() && is_blank(head[first])) ++first;
  const std::vector<uint8_t> trimmed(head.begin() + static_cast<std::ptrdiff_t>(first), head.end());
  for (const Impostor& impostor : kImpostors) {
    if (has_at(impostor.offset == 0 && impostor.begin.size() == 1 ? trimmed : head, impostor.offset,
               impostor.begin)) {
      throw FormatError(source.name(), text("is ", impostor.what, "; ", kExpected));
    }
  }
  // ModelProto: field 1 (ir_version, a small number), then field 2 or 7 or 8.
  if (head.size() > 3 && head[0] == 0x08 && head[1] > 0 && head[1] < 32 &&
      (head[2] == 0x12 || head[2] == 0x3a || head[2] == 0x42)) {
    throw FormatError(source.name(), text("is an ONNX model; ", kExpected));
  }
  if (head.size() > 1 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5) {
    throw FormatError(source.name(), text("is a Python pickle, but no PyTorch checkpoint; ", kExpected));
  }
  if (std::all_of(head.begin(), head.end(), [](uint8_t b) { return b == 0; })) {
    throw FormatError(source.name(), text("begins with ", head.size(),
                                          " zero bytes (a download that failed?); ", kExpected));
  }
  throw FormatError(source.name(), text("is of no kind known here; ", kExpected));
}

}  // namespace

const char* weights_kind_name(WeightsKind kind) {
  switch (kind) {
    case WeightsKind::kSafetensors:
      return "safetensors";
    case WeightsKind::kTorchZip:
      return "PyTorch (zip)";
    case WeightsKind::kTorchStream:
      return "PyTorch (legacy stream)";
    case WeightsKind::kTorchTar:
      return "PyTorch (legacy tar)";
    case WeightsKind::kNpz:
      return "NumPy (npz)";
  }
  return "unknown";
}

WeightsKind sniff_weights(const ByteSourcePtr& source) {
  if (source->size() == 0) throw FormatError(source->name(), text("is empty; ", kExpected));
  const std::vector<uint8_t> head = source->bytes(0, std::min<int64_t>(source->size(), 512));
  if (has_at(head, 0, "PK\x03\x04"sv) || has_at(head, 0, "PK\x05\x06"sv)) return sniff_zip(source);
  if (looks_like_tar(*source)) return WeightsKind::kTorchTar;
  if (looks_like_torch_stream(*source)) return WeightsKind::kTorchStream;
  if (looks_like_safetensors(head)) return WeightsKind::kSafetensors;
  name_impostor(*source, head);
}

std::unique_ptr<NamedTensors> open_weights(const std::string& path) {
  return open_weights(file_source(path));
}

std::unique_ptr<NamedTensors> open_weights(const ByteSourcePtr& source) {
  switch (sniff_weights(source)) {
    case WeightsKind::kSafetensors:
      return std::make_unique<SafetensorsFile>(source);
    case WeightsKind::kNpz:
      return open_npz(source);
    default:
      return open_torch_checkpoint(source);
  }
}

}  // namespace panda::weights
