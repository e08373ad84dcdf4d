#include "checkpoint/safetensors_header.h"

#include <simdjson.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <unordered_set>

#include "base/bytes.h"
#include "checkpoint/printable.h"
#include "checkpoint/problems.h"

namespace ckpt {
namespace {

namespace dom = simdjson::dom;  // the DOM checks every byte, keeps keys in order and keeps those that stand twice

constexpr std::size_t kMaxNameBytes = 64 * 1024;
constexpr std::size_t kMaxDimensions = 64;

Status corrupt_tensor(std::string_view name, std::string_view what) { return corrupt(fmt::format("tensor {}: {}", printable(name), what)); }

Result<std::vector<std::uint64_t>> read_numbers(dom::element value, std::size_t most) {
  dom::array array;
  if (value.get_array().get(array)) return corrupt("is no list");
  std::vector<std::uint64_t> numbers;
  for (const dom::element element : array) {
    std::uint64_t number = 0;
    if (element.get_uint64().get(number)) return corrupt("holds something that is no whole number from 0 to 2^64-1");
    if (numbers.size() == most) return corrupt(fmt::format("has more than {} entries", most));
    numbers.push_back(number);
  }
  return numbers;
}

struct RawTensor {
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> offsets;
};

Result<RawTensor> read_tensor(std::string_view name, dom::element value) {
  dom::object object;
  if (value.get_object().get(object)) return corrupt_tensor(name, "its entry is no object");
  RawTensor raw;
  std::vector<std::string_view> seen;  // three, or soon an error
  for (const auto [key, content] : object) {
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) return corrupt_tensor(name, fmt::format("{} stands twice", printable(key)));
    seen.push_back(key);
    if (key == "dtype") {
      std::string_view text;
      if (content.get_string().get(text)) return corrupt_tensor(name, "dtype is no text");
      raw.dtype = text;
    } else if (key == "shape" || key == "data_offsets") {
      Result<std::vector<std::uint64_t>> numbers = read_numbers(content, key == "shape" ? kMaxDimensions : 2);
      if (!numbers.ok()) return corrupt_tensor(name, fmt::format("{} {}", key, numbers.status().message()));
      (key == "shape" ? raw.shape : raw.offsets) = std::move(numbers).value();
    } else {
      return corrupt_tensor(name, fmt::format("unknown field {}", printable(key)));
    }
  }
  if (seen.size() != 3) return corrupt_tensor(name, "dtype, shape and data_offsets are needed");
  return raw;
}

/// Whether the official reader's product of the dimensions, from the left, fits: a zero further right does not mend it.
bool counts_without_overflow(const std::vector<std::uint64_t>& shape) {
  std::optional<std::uint64_t> count = 1;
  for (const std::uint64_t dimension : shape)
    if (count) count = checked_multiply(*count, dimension);
  return count.has_value();
}

Result<SafetensorsEntry> check_tensor(const std::string& name, RawTensor raw, std::uint64_t data_bytes) {
  const auto dtype = dtype_from_name(raw.dtype);
  if (!dtype) return corrupt_tensor(name, fmt::format("unknown dtype {}", printable(raw.dtype)));
  if (raw.offsets.size() != 2) return corrupt_tensor(name, "data_offsets must be [begin, end]");
  const std::uint64_t begin = raw.offsets[0];
  const std::uint64_t end = raw.offsets[1];
  if (begin > end) return corrupt_tensor(name, fmt::format("data_offsets [{}, {}] run backwards", begin, end));
  if (end > data_bytes)
    return corrupt_tensor(
        name, fmt::format("data_offsets [{}, {}] reach beyond the {} bytes of data: the file is cut, or the header wrong", begin, end, data_bytes));
  if (!counts_without_overflow(raw.shape)) return corrupt_tensor(name, "its shape overflows 64 bits");
  const auto bytes = tensor_bytes(*dtype, raw.shape);
  if (!bytes) return corrupt_tensor(name, "its shape overflows, or is no whole number of bytes");
  if (*bytes != end - begin) return corrupt_tensor(name, fmt::format("its shape needs {} bytes and data_offsets give {}", *bytes, end - begin));
  return SafetensorsEntry{{name, *dtype, std::move(raw.shape), *bytes}, begin};
}

Status read_metadata(dom::element value, std::map<std::string, std::string>& metadata) {
  if (value.is_null()) return Status::success();  // as the official reader has it
  dom::object object;
  if (value.get_object().get(object)) return corrupt("__metadata__ is no object");
  for (const auto [key, content] : object) {
    std::string_view text;
    if (content.get_string().get(text)) return corrupt(fmt::format("__metadata__: {} is no text", printable(key)));
    if (!metadata.emplace(key, text).second) return corrupt(fmt::format("__metadata__: {} stands twice", printable(key)));
  }
  return Status::success();
}

/// The official reader refuses data that no tensor covers, and tensors that overlap.
void check_coverage(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes, ProblemList& problems) {
  std::uint64_t next = 0;
  for (const SafetensorsEntry& entry : entries) {
    const std::string& name = entry.parameter.name;
    if (entry.offset_bytes < next)
      problems.add(corrupt_tensor(name, fmt::format("starts at {} and overlaps the tensor before it, which ends at {}", entry.offset_bytes, next)));
    if (entry.offset_bytes > next)
      problems.add(corrupt_tensor(name, fmt::format("starts at {} and leaves a hole after {}", entry.offset_bytes, next)));
    next = std::max(next, entry.offset_bytes + entry.parameter.bytes);
  }
  if (next != data_bytes) problems.add(corrupt(fmt::format("the tensors end at {} and the data at {}", next, data_bytes)));
}

Status read_entry(std::string_view name, dom::element value, std::uint64_t data_bytes, SafetensorsHeader& header) {
  if (name.size() > kMaxNameBytes) return corrupt(fmt::format("a name of {} bytes is longer than {}", name.size(), kMaxNameBytes));
  if (name == "__metadata__") return read_metadata(value, header.metadata);
  CKPT_ASSIGN_OR_RETURN(RawTensor raw, read_tensor(name, value));
  CKPT_ASSIGN_OR_RETURN(SafetensorsEntry entry, check_tensor(std::string(name), std::move(raw), data_bytes));
  header.entries.push_back(std::move(entry));
  return Status::success();
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, ProblemList& problems) {
  SafetensorsHeader header;
  if (json.empty() || json.front() != '{') {
    problems.add(corrupt("the header does not start with {"));
    return header;
  }
  dom::parser parser(kMaxHeaderBytes + 1);
  dom::object object;
  if (const auto error = parser.parse(json.data(), json.size()).get_object().get(object)) {
    problems.add(corrupt(fmt::format("the header is no valid JSON object: {}", simdjson::error_message(error))));
    return header;
  }
  header.entries.reserve(object.size());
  std::unordered_set<std::string_view> names;
  for (const auto [name, value] : object) {
    problems.add(names.insert(name).second ? read_entry(name, value, data_bytes, header) : corrupt_tensor(name, "stands twice in the header"));
    if (problems.full()) return header;
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    const std::uint64_t a_end = a.offset_bytes + a.parameter.bytes;
    const std::uint64_t b_end = b.offset_bytes + b.parameter.bytes;
    return std::tie(a.offset_bytes, a_end, a.parameter.name) < std::tie(b.offset_bytes, b_end, b.parameter.name);
  });
  // Tensors that could not be read would show as holes.
  if (problems.empty()) check_coverage(header.entries, data_bytes, problems);
  return header;
}

Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, std::uint64_t data_bytes) {
  ProblemList problems(1);
  SafetensorsHeader header = parse_safetensors_header(json, data_bytes, problems);
  if (!problems.empty()) return problems.first();
  return header;
}

}  // namespace ckpt
