// Where `panda score` takes its images from: a list, the paths on standard input, or folders that fill.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace panda::tools {

class ImageSource {
 public:
  ImageSource() = default;
  ImageSource(const ImageSource&) = delete;
  ImageSource& operator=(const ImageSource&) = delete;
  virtual ~ImageSource() = default;
  /// The next images to score; empty at the end. Waits where more may come, and throws Interrupted then.
  [[nodiscard]] virtual std::vector<std::string> next() = 0;
};

/// Files and directories, all at once. Throws as data::list_images does.
[[nodiscard]] std::unique_ptr<ImageSource> listed_images(const std::vector<std::string>& paths);

/// Paths from a descriptor, one per line (empty lines are passed over): what is there when asked, at most
/// `most` at a time, so that memory does not grow and the last image before a pause is not kept waiting.
[[nodiscard]] std::unique_ptr<ImageSource> images_from_lines(int descriptor, int64_t most);

/// The images in these directories, and then whatever comes: a file is taken when its size and time have not
/// changed between two looks, `look_seconds` apart, and again when it is written again. Ends when nothing
/// came for `idle_seconds` (0: never). Memory grows with the files that are there, not with those that were.
/// Throws InvalidArgument for what is no directory.
[[nodiscard]] std::unique_ptr<ImageSource> watched_images(const std::vector<std::string>& directories,
                                                          double look_seconds, double idle_seconds);

}  // namespace panda::tools
