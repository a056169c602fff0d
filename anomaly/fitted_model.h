// The fitted-model file: all that scoring needs, in one safetensors container.
//
// Tensors: the network under "network/" (torchvision names, in the dtype of the weights file), and the
// method's own. Metadata, all text:
//
//   format     "panda-fitted-model"
//   version    "1": one reference of pooled features (dn2); "2": features of pixels, a tensor per image
//              (spade). A method's file states the oldest version that describes it; a newer one is refused
//   method     "dn2", "spade", ...
//   sha256     of all other metadata and of every tensor's name, dtype, shape and bytes (see content_digest)
//   arch, option.*, transform.*, threshold.*   what scoring follows
//   manifest.* what the fit was made of
//
// A reader that knows safetensors can look into it. The digest is checked when a model is opened: a flipped
// bit anywhere in it is an error, never another score. The bytes depend on the content alone: no time, no
// path.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/transforms.h"
#include "kernels/tensor/named_tensors.h"
#include "kernels/tensor/progress.h"
#include "weights/safetensors.h"

namespace panda::anomaly {

inline constexpr int64_t kFittedModelVersion = 1;
inline constexpr int64_t kPixelModelVersion = 2;
/// The newest that is read.
inline constexpr int64_t kNewestModelVersion = kPixelModelVersion;

/// What a fit was made of: with the same manifest and options a fit gives the same file.
struct FitManifest {
  std::string weights_sha256;  ///< of the weights file
  std::string
      training_files_sha256;  ///< of the list of training images (their names in the data set, in order)
  std::string panda_version;
  std::string device;  ///< name and instruction set, where features may differ in their last bits
  int64_t seed = 0;

  friend bool operator==(const FitManifest&, const FitManifest&) = default;
};

/// Tensors gathered under new names.
class TensorBundle final : public NamedTensors {
 public:
  explicit TensorBundle(std::string source) : source_(std::move(source)) {}
  /// Dense, on the host.
  void add(const std::string& name, Tensor tensor);
  /// The named tensors of `from` (which must outlive the bundle), loaded when they are asked for, as `prefix`
  /// + name.
  void add_from(const std::string& prefix, const NamedTensors& from, const std::vector<std::string>& names);

  [[nodiscard]] std::vector<TensorInfo> list() const override;
  [[nodiscard]] bool contains(const std::string& name) const override { return entries_.count(name) != 0; }
  [[nodiscard]] Tensor load(const std::string& name) const override;
  [[nodiscard]] std::string source() const override { return source_; }

 private:
  struct Entry {
    Tensor tensor;  // or, if absent:
    const NamedTensors* from = nullptr;
    TensorInfo info;  // its name is the one in `from`
  };
  std::string source_;
  std::map<std::string, Entry> entries_;
};

/// The tensors of `from` whose names begin with `prefix`, without it. `from` must outlive it.
class PrefixedTensors final : public NamedTensors {
 public:
  PrefixedTensors(const NamedTensors& from, std::string prefix) : from_(&from), prefix_(std::move(prefix)) {}
  [[nodiscard]] std::vector<TensorInfo> list() const override;
  [[nodiscard]] bool contains(const std::string& name) const override {
    return from_->contains(prefix_ + name);
  }
  [[nodiscard]] Tensor load(const std::string& name) const override { return from_->load(prefix_ + name); }
  [[nodiscard]] std::string source() const override { return from_->source(); }

 private:
  const NamedTensors* from_;
  std::string prefix_;
};

/// SHA-256 of all metadata but "sha256" (keys and values, sorted by key, each with its length before it, so
/// that two contents never spell the same bytes), then of weights::content_sha256 of the tensors.
[[nodiscard]] std::string content_digest(const weights::Metadata& metadata, const NamedTensors& tensors);

/// Writes the container atomically. `fields` are the method's metadata; format, version, method and sha256
/// are added.
void write_fitted_model(const std::string& path, const std::string& method, const weights::Metadata& fields,
                        const NamedTensors& tensors, int64_t version = kFittedModelVersion);

/// kSkipped: for who looks into a damaged file, and for fuzzing what lies behind the check.
enum class DigestCheck : uint8_t { kRequired, kSkipped };

/// A model opened for scoring. Throws FormatError for anything that is no whole model of this version, naming
/// what and what to do.
class FittedModelFile {
 public:
  explicit FittedModelFile(const std::string& path) : FittedModelFile(weights::file_source(path)) {}
  explicit FittedModelFile(weights::ByteSourcePtr source, DigestCheck check = DigestCheck::kRequired);

  [[nodiscard]] std::string source() const { return file_.source(); }
  [[nodiscard]] const std::string& method() const { return text_field("method"); }
  /// All metadata.
  [[nodiscard]] const weights::Metadata& fields() const { return file_.metadata(); }
  [[nodiscard]] bool has(const std::string& key) const { return file_.metadata().count(key) != 0; }
  // A field that is missing or cannot be read as asked is a FormatError naming it.
  [[nodiscard]] const std::string& text_field(const std::string& key) const;
  [[nodiscard]] int64_t integer_field(const std::string& key, int64_t minimum, int64_t maximum) const;
  [[nodiscard]] double real_field(const std::string& key) const;
  /// A real that a float can hold.
  [[nodiscard]] float float_field(const std::string& key) const;
  [[nodiscard]] bool flag_field(const std::string& key) const;
  /// The tensor, after the check of dtype and rank; finite elements only.
  [[nodiscard]] Tensor load(const std::string& name, DType dtype, int rank) const;
  [[nodiscard]] const NamedTensors& tensors() const { return file_; }

 private:
  weights::SafetensorsFile file_;
};

/// Numbers as text that reads back as the same number.
[[nodiscard]] std::string field_text(double value);
[[nodiscard]] std::string field_text(float value);

void put_transform(weights::Metadata& fields, const data::ImageTransform& transform);
/// A crop of 0 (whole pictures) is an error unless the method takes them.
[[nodiscard]] data::ImageTransform get_transform(const FittedModelFile& file, bool whole_pictures = false);
void put_manifest(weights::Metadata& fields, const FitManifest& manifest);
[[nodiscard]] FitManifest get_manifest(const FittedModelFile& file);

}  // namespace panda::anomaly
