// A training on disk, so that one that was stopped at any moment goes on to the same final bits: an
// adaptation, a pretraining, a Fisher diagonal.
//
// A safetensors file: the tensors that a further step depends on, and as metadata "format"
// ("panda-fit-checkpoint"), "minibatch", "fit.*" (everything else that the result depends on), and "sha256"
// over all of it (anomaly/fitted_model.h, content_digest). Written beside its place and renamed: it is the
// old one or the new one, never between.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "kernels/tensor/tensor.h"
#include "weights/safetensors.h"

namespace panda::anomaly {

/// By name, on the host.
using TrainingState = std::map<std::string, Tensor>;
/// The tensors whose names begin with `prefix`, without it.
[[nodiscard]] TrainingState part_of(const TrainingState& state, const std::string& prefix);

/// MODEL.checkpoint
[[nodiscard]] std::string checkpoint_path(const std::string& model_path);

/// Removes what a fit that was killed while it wrote left beside `model_path` and its checkpoint.
void remove_abandoned_files(const std::string& model_path);

/// fit: what the result depends on. Throws IoError (exhausted for a full disk); the file is then as before.
void write_training_state(const std::string& path, const weights::Metadata& fit, int64_t steps,
                          const TrainingState& state);
/// Gives the checkpoint's steps and state to `restore`. Throws FormatError for a file that is no whole
/// checkpoint, is one of another fit (naming the first difference), or that `restore` throws InvalidArgument
/// for.
void read_training_state(const std::string& path, const weights::Metadata& fit,
                         const std::function<void(int64_t steps, const TrainingState& state)>& restore);

/// The same for whatever has steps(), state() and restore(steps, state).
template <typename Training>
void write_checkpoint(const std::string& path, const weights::Metadata& fit, const Training& training) {
  write_training_state(path, fit, training.steps(), training.state());
}
template <typename Training>
void read_checkpoint(const std::string& path, const weights::Metadata& fit, Training& training) {
  read_training_state(path, fit,
                      [&](int64_t steps, const TrainingState& state) { training.restore(steps, state); });
}

}  // namespace panda::anomaly
