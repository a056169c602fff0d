// An adaptation on disk, so that a fit that was stopped at any moment goes on to the same final bits.
//
// A safetensors file: the trained parameters, their velocities, the snapshots and the log, and as metadata
// "format" ("panda-fit-checkpoint"), "minibatch", "fit.*" (everything that the result depends on), and
// "sha256" over all of it (anomaly/fitted_model.h, content_digest). Written beside its place and renamed: it
// is the old one or the new one, never between.
#pragma once

#include <string>

#include "anomaly/adaptation.h"
#include "weights/safetensors.h"

namespace panda::anomaly {

/// MODEL.checkpoint
[[nodiscard]] std::string checkpoint_path(const std::string& model_path);

/// Removes what a fit that was killed while it wrote left beside `model_path` and its checkpoint.
void remove_abandoned_files(const std::string& model_path);

/// fit: what the result depends on. Throws IoError (exhausted for a full disk); the file is then as before.
void write_checkpoint(const std::string& path, const weights::Metadata& fit, const Adaptation& adaptation);

/// Brings `adaptation` where the checkpoint is. Throws FormatError for a file that is no whole checkpoint, or
/// is one of another fit, naming the first difference.
void read_checkpoint(const std::string& path, const weights::Metadata& fit, Adaptation& adaptation);

}  // namespace panda::anomaly
