// What the command prints on standard output: tables for people, JSON and CSV for programs.
//
// A command describes its result once, as Records (a list of like things) or as one JSON object, and print_*
// writes it in the format the user chose. Numbers in JSON and CSV read back as the same double; a number that
// is not finite is null or empty.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace panda::tools {

/// Keeps keys in the order in which they were set.
using Json = nlohmann::ordered_json;

enum class OutputFormat { kTable, kJson, kJsonLines, kCsv };

/// Standard output, or any descriptor: what is written is complete or an error. A reader that went away
/// (`panda ... | head`) is no error: the rest is dropped.
class OutputStream {
 public:
  /// `name` stands in error messages. The descriptor stays the caller's.
  OutputStream(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}
  OutputStream(const OutputStream&) = delete;
  OutputStream& operator=(const OutputStream&) = delete;

  /// Buffers; throws IoError as `flush` does.
  void write(const std::string& bytes);
  /// Hands everything to the system. Throws IoError (a full disk, a closed descriptor).
  void flush();

 private:
  int descriptor_;
  std::string name_;
  std::string buffer_;
  bool reader_gone_ = false;
};

/// One column of Records.
struct Field {
  std::string key;    ///< JSON key and CSV header
  std::string title;  ///< header in the table for people
  int decimals = -1;  ///< digits after the point in the table for people; -1: as short as reads back
};

/// A list of records with the same fields.
class Records {
 public:
  explicit Records(std::vector<Field> fields) : fields_(std::move(fields)) {}
  /// One value per field: text, number, boolean or null.
  void add(std::vector<Json> values);
  [[nodiscard]] const std::vector<std::vector<Json>>& rows() const { return rows_; }

  /// Aligned columns under their titles; numbers to the right.
  [[nodiscard]] std::string table() const;
  [[nodiscard]] std::string csv() const;
  /// An array of objects.
  [[nodiscard]] Json json() const;
  /// An object per line.
  [[nodiscard]] std::string json_lines() const;

 private:
  std::vector<Field> fields_;
  std::vector<std::vector<Json>> rows_;
};

/// Prints the list in that format.
void print_records(OutputStream& out, OutputFormat format, const Records& records);

/// The list, one record at a time: JSON lines at once, the other formats when it is whole (an error leaves
/// nothing half-printed).
class RecordPrinter {
 public:
  RecordPrinter(OutputStream& out, OutputFormat format, std::vector<Field> fields);
  void add(std::vector<Json> values);
  /// Prints what was gathered.
  void finish();

 private:
  OutputStream& out_;
  OutputFormat format_;
  std::vector<Field> fields_;
  Records gathered_;
};

/// Prints one object: JSON as it is (JSON lines: on one line); CSV as a header and a row, nested objects
/// flattened to "outer.inner" and arrays left out; for people `table` verbatim.
void print_object(OutputStream& out, OutputFormat format, const Json& object, const std::string& table);

/// Two aligned columns: name and value.
[[nodiscard]] std::string aligned_pairs(const std::vector<std::pair<std::string, std::string>>& pairs);

/// The JSON text with its newline. Bytes that are no UTF-8 (a file name may hold any) become U+FFFD.
[[nodiscard]] std::string json_text(const Json& value);
/// The same on one line.
[[nodiscard]] std::string json_line(const Json& value);
/// Quoted as RFC 4180 asks where needed; control characters as \xNN, so that a record is always one line.
[[nodiscard]] std::string csv_field(const std::string& field);
/// The shortest decimal that reads back as the same double; "" for what is not finite.
[[nodiscard]] std::string shortest_number(double value);
/// With that many digits after the point; "-" for what is not finite.
[[nodiscard]] std::string fixed_number(double value, int decimals);
/// 0.8074 -> "80.74 %"; `otherwise` where there is none.
[[nodiscard]] std::string as_percent(const std::optional<double>& share, const std::string& otherwise = "-",
                                     int decimals = 2);
/// A number, or null.
[[nodiscard]] Json number_or_null(const std::optional<double>& value);
/// Seconds as people read them: "0.42 s", "1:05", "2:03:07".
[[nodiscard]] std::string duration_text(double seconds);

}  // namespace panda::tools
