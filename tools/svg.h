// A small SVG canvas: enough for plots and contact sheets. Text is escaped, pictures are embedded as PNG,
// nothing is loaded from outside.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "data/image.h"

namespace panda::tools {

/// RFC 4648, with padding.
[[nodiscard]] std::string base64(const std::vector<uint8_t>& bytes);
/// & < > " as entities; control characters as printable() writes them.
[[nodiscard]] std::string xml_escaped(const std::string& raw);

class Svg {
 public:
  enum class Anchor { kStart, kMiddle, kEnd };

  /// `title` is read out by screen readers. `style` holds the classes used below; it may follow the viewer's
  /// dark mode.
  Svg(double width, double height, const std::string& title, const std::string& style);

  void text(double x, double y, const std::string& content, const std::string& css_class,
            Anchor anchor = Anchor::kStart);
  void line(double x1, double y1, double x2, double y2, const std::string& css_class);
  void rect(double x, double y, double width, double height, const std::string& css_class);
  void circle(double x, double y, double radius, const std::string& css_class,
              const std::string& tooltip = {});
  /// A triangle, point up, of that height, centred on (x, y).
  void triangle(double x, double y, double height, const std::string& css_class,
                const std::string& tooltip = {});
  /// Straight lines through these points; not filled unless the class says so.
  void polyline(const std::vector<std::pair<double, double>>& points, const std::string& css_class);
  void picture(double x, double y, double width, double height, const data::Image& image);

  /// What is drawn until end_group is moved by that.
  void begin_group(double x, double y);
  void end_group();

  /// The whole document.
  [[nodiscard]] std::string document() const { return body_ + "</svg>\n"; }

 private:
  std::string body_;
};

}  // namespace panda::tools
