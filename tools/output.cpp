#include "tools/output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "kernels/tensor/error.h"

namespace panda::tools {

namespace {

constexpr size_t kFlushBytes = 1 << 16;

// Columns a terminal gives the text: code points, which is right for all but combining and double-width
// characters.
size_t display_width(const std::string& utf8) {
  return static_cast<size_t>(std::count_if(
      utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string padded(const std::string& cell, size_t width, bool to_right) {
  const std::string space(width - std::min(width, display_width(cell)), ' ');
  return to_right ? space + cell : cell + space;
}

std::string table_cell(const Json& value, int decimals) {
  if (value.is_null()) return "-";
  if (value.is_string()) return printable(value.get<std::string>());
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    if (decimals >= 0 || !std::isfinite(number)) return fixed_number(number, std::max(decimals, 0));
    return shortest_number(number);
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string csv_cell(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return csv_field(value.get<std::string>());
  if (value.is_number_float()) return shortest_number(value.get<double>());
  return csv_field(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void flatten(const Json& object, const std::string& prefix, std::string& header, std::string& row) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      flatten(value, prefix + key + ".", header, row);
    } else if (!value.is_array()) {
      const std::string comma = header.empty() ? "" : ",";
      header += comma + csv_field(prefix + key);
      row += comma + csv_cell(value);
    }
  }
}

}  // namespace

void OutputStream::write(const std::string& bytes) {
  buffer_ += bytes;
  if (buffer_.size() >= kFlushBytes) flush();
}

void OutputStream::flush() {
  size_t done = 0;
  while (done < buffer_.size() && !reader_gone_) {
    const ssize_t put = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
    if (put >= 0) {
      done += static_cast<size_t>(put);
    } else if (errno == EPIPE) {
      reader_gone_ = true;
    } else if (errno != EINTR) {
      const int error = errno;
      buffer_.clear();
      throw IoError(name_, "write", error);
    }
  }
  buffer_.clear();
}

void Records::add(std::vector<Json> values) {
  PANDA_INTERNAL_ASSERT(values.size() == fields_.size(), values.size(), " values for ", fields_.size(),
                        " fields");
  rows_.push_back(std::move(values));
}

std::string Records::table() const {
  std::vector<size_t> widths;
  std::vector<bool> to_right;
  for (size_t column = 0; column < fields_.size(); ++column) {
    size_t width = display_width(fields_[column].title);
    bool numbers = !rows_.empty();
    for (const std::vector<Json>& row : rows_) {
      width = std::max(width, display_width(table_cell(row[column], fields_[column].decimals)));
      numbers = numbers && (row[column].is_number() || row[column].is_null());
    }
    widths.push_back(width);
    to_right.push_back(numbers);
  }
  const auto line = [&](const auto& cell) {
    std::string joined;
    for (size_t column = 0; column < fields_.size(); ++column) {
      joined += (column == 0 ? "" : "  ") + padded(cell(column), widths[column], to_right[column]);
    }
    joined.erase(joined.find_last_not_of(' ') + 1);
    return joined + "\n";
  };
  std::string lines = line([&](size_t column) { return fields_[column].title; });
  for (const std::vector<Json>& row : rows_) {
    lines += line([&](size_t column) { return table_cell(row[column], fields_[column].decimals); });
  }
  return lines;
}

std::string Records::csv() const {
  std::string lines;
  for (size_t column = 0; column < fields_.size(); ++column) {
    lines += (column == 0 ? "" : ",") + csv_field(fields_[column].key);
  }
  lines += "\n";
  for (const std::vector<Json>& row : rows_) {
    for (size_t column = 0; column < row.size(); ++column)
      lines += (column == 0 ? "" : ",") + csv_cell(row[column]);
    lines += "\n";
  }
  return lines;
}

Json Records::json() const {
  Json list = Json::array();
  for (const std::vector<Json>& row : rows_) {
    Json record = Json::object();
    for (size_t column = 0; column < row.size(); ++column) record[fields_[column].key] = row[column];
    list.push_back(std::move(record));
  }
  return list;
}

std::string Records::json_lines() const {
  std::string lines;
  for (const Json& record : json()) lines += json_line(record);
  return lines;
}

RecordPrinter::RecordPrinter(OutputStream& out, OutputFormat format, std::vector<Field> fields)
    : out_(out), format_(format), fields_(fields), gathered_(std::move(fields)) {}

void RecordPrinter::add(std::vector<Json> values) {
  if (format_ != OutputFormat::kJsonLines) {
    gathered_.add(std::move(values));
    return;
  }
  Records one(fields_);
  one.add(std::move(values));
  out_.write(one.json_lines());
  out_.flush();
}

void RecordPrinter::finish() {
  if (format_ != OutputFormat::kJsonLines) print_records(out_, format_, gathered_);
}

void print_records(OutputStream& out, OutputFormat format, const Records& records) {
  switch (format) {
    case OutputFormat::kTable:
      out.write(records.table());
      break;
    case OutputFormat::kJson:
      out.write(json_text(records.json()));
      break;
    case OutputFormat::kJsonLines:
      out.write(records.json_lines());
      break;
    case OutputFormat::kCsv:
      out.write(records.csv());
      break;
  }
}

void print_object(OutputStream& out, OutputFormat format, const Json& object, const std::string& table) {
  if (format == OutputFormat::kTable) {
    out.write(table);
  } else if (format == OutputFormat::kJson) {
    out.write(json_text(object));
  } else if (format == OutputFormat::kJsonLines) {
    out.write(json_line(object));
  } else {
    std::string header;
    std::string row;
    flatten(object, "", header, row);
    out.write(header + "\n" + row + "\n");
  }
}

std::string aligned_pairs(const std::vector<std::pair<std::string, std::string>>& pairs) {
  size_t width = 0;
  for (const auto& [name, value] : pairs) width = std::max(width, display_width(name));
  std::string lines;
  for (const auto& [name, value] : pairs)
    lines += padded(name, width, false) + "  " + printable(value) + "\n";
  return lines;
}

std::string json_text(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string json_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string csv_field(const std::string& field) {
  const std::string safe = printable(field);
  if (safe.find_first_of(",\"") == std::string::npos &&
      (safe.empty() || (safe.front() != ' ' && safe.back() != ' '))) {
    return safe;
  }
  std::string quoted = "\"";
  for (const char c : safe) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string shortest_number(double value) {
  if (!std::isfinite(value)) return "";
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  PANDA_INTERNAL_ASSERT(error == std::errc(), "no text for a double");
  return std::string(digits, end);
}

std::string fixed_number(double value, int decimals) {
  if (!std::isfinite(value)) return "-";
  char digits[400];  // the largest double has 309 digits before the point
  const auto [end, error] =
      std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed, std::min(decimals, 40));
  PANDA_INTERNAL_ASSERT(error == std::errc(), "no text for a double");
  return std::string(digits, end);
}

std::string as_percent(const std::optional<double>& share, const std::string& otherwise, int decimals) {
  return share ? fixed_number(100 * *share, decimals) + " %" : otherwise;
}

Json number_or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "-";
  if (seconds < 10) return fixed_number(seconds, 2) + " s";
  if (seconds < 60) return fixed_number(seconds, 1) + " s";
  const auto whole = static_cast<int64_t>(std::min(seconds, 1e15));
  const auto two_digits = [](int64_t number) { return (number < 10 ? "0" : "") + std::to_string(number); };
  const std::string rest = two_digits(whole % 60);
  if (whole < 3600) return text(whole / 60, ":", rest);
  return text(whole / 3600, ":", two_digits(whole / 60 % 60), ":", rest);
}

}  // namespace panda::tools
