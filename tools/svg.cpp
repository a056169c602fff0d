#include "tools/svg.h"

#include "data/image_write.h"
#include "kernels/tensor/text.h"
#include "tools/output.h"

namespace panda::tools {

namespace {

/// Two digits after the point: a hundredth of a pixel.
std::string coordinate(double value) {
  return fixed_number(value, 2);
}

std::string tooltip_element(const std::string& tooltip) {
  return tooltip.empty() ? "" : "<title>" + xml_escaped(tooltip) + "</title>";
}

}  // namespace

std::string base64(const std::vector<uint8_t>& bytes) {
  static const char* const kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string encoded;
  encoded.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t present = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (j < present ? bytes[i + j] : 0u);
    for (size_t j = 0; j < 4; ++j) encoded += j <= present ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return encoded;
}

std::string xml_escaped(const std::string& raw) {
  std::string escaped;
  for (const char c : printable(raw)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

Svg::Svg(double width, double height, const std::string& title, const std::string& style)
    : body_(panda::text("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", coordinate(width), " ",
                        coordinate(height), "\" width=\"", coordinate(width), "\" height=\"",
                        coordinate(height), "\" role=\"img\">\n<title>", xml_escaped(title),
                        "</title>\n<style>", style, "</style>\n")) {}

void Svg::text(double x, double y, const std::string& content, const std::string& css_class, Anchor anchor) {
  const char* const position = anchor == Anchor::kStart    ? "start"
                               : anchor == Anchor::kMiddle ? "middle"
                                                           : "end";
  body_ += panda::text("<text class=\"", css_class, "\" x=\"", coordinate(x), "\" y=\"", coordinate(y),
                       "\" text-anchor=\"", position, "\">", xml_escaped(content), "</text>\n");
}

void Svg::line(double x1, double y1, double x2, double y2, const std::string& css_class) {
  body_ += panda::text("<line class=\"", css_class, "\" x1=\"", coordinate(x1), "\" y1=\"", coordinate(y1),
                       "\" x2=\"", coordinate(x2), "\" y2=\"", coordinate(y2), "\"/>\n");
}

void Svg::rect(double x, double y, double width, double height, const std::string& css_class) {
  body_ += panda::text("<rect class=\"", css_class, "\" x=\"", coordinate(x), "\" y=\"", coordinate(y),
                       "\" width=\"", coordinate(width), "\" height=\"", coordinate(height), "\"/>\n");
}

void Svg::circle(double x, double y, double radius, const std::string& css_class,
                 const std::string& tooltip) {
  body_ += panda::text("<circle class=\"", css_class, "\" cx=\"", coordinate(x), "\" cy=\"", coordinate(y),
                       "\" r=\"", coordinate(radius), "\">", tooltip_element(tooltip), "</circle>\n");
}

void Svg::triangle(double x, double y, double height, const std::string& css_class,
                   const std::string& tooltip) {
  const double half = height / 2;
  body_ += panda::text("<path class=\"", css_class, "\" d=\"M", coordinate(x), " ", coordinate(y - half), "L",
                       coordinate(x + half), " ", coordinate(y + half), "L", coordinate(x - half), " ",
                       coordinate(y + half), "Z\">", tooltip_element(tooltip), "</path>\n");
}

void Svg::polyline(const std::vector<std::pair<double, double>>& points, const std::string& css_class) {
  std::string list;
  for (const auto& [x, y] : points) list += (list.empty() ? "" : " ") + coordinate(x) + "," + coordinate(y);
  body_ += panda::text("<polyline class=\"", css_class, "\" points=\"", list, "\"/>\n");
}

void Svg::begin_group(double x, double y) {
  body_ += panda::text("<g transform=\"translate(", coordinate(x), " ", coordinate(y), ")\">\n");
}

void Svg::end_group() {
  body_ += "</g>\n";
}

void Svg::picture(double x, double y, double width, double height, const data::Image& image) {
  body_ += panda::text("<image x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" width=\"",
                       coordinate(width), "\" height=\"", coordinate(height),
                       "\" href=\"data:image/png;base64,", base64(data::encode_png(image)), "\"/>\n");
}

}  // namespace panda::tools
