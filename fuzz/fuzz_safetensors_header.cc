// fuzz: checkpoint manifest base
// Input: the size of the data in decimal, a newline, the JSON header.
#include "base/check.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/writer.h"
#include "number_line.h"

namespace ckpt {
namespace {

/// What is accepted covers the data without hole or overlap, and means the same when written again.
void check_accepted(const SafetensorsHeader& header, std::uint64_t data_bytes) {
  std::uint64_t next = 0;
  std::vector<Parameter> parameters;
  for (const SafetensorsEntry& entry : header.entries) {
    CKPT_CHECK(entry.offset_bytes == next);
    CKPT_CHECK(tensor_bytes(entry.parameter.dtype, entry.parameter.shape) == entry.parameter.bytes);
    next += entry.parameter.bytes;
    parameters.push_back(entry.parameter);
  }
  CKPT_CHECK(next == data_bytes);
  const Result<std::string> head = safetensors_head(parameters, header.metadata);
  CKPT_CHECK(head.ok());
  const Result<SafetensorsHeader> again = parse_safetensors_header(std::string_view(*head).substr(8), data_bytes);
  CKPT_CHECK(again.ok());
  CKPT_CHECK(again->metadata == header.metadata);
  CKPT_CHECK(again->entries.size() == header.entries.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) CKPT_CHECK(again->entries[i].parameter == parameters[i]);
}

}  // namespace
}  // namespace ckpt

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto [data_bytes, json] = ckpt::fuzz::split_number_line(data, size);
  const ckpt::Result<ckpt::SafetensorsHeader> header = ckpt::parse_safetensors_header(json, data_bytes);
  ckpt::ProblemList problems(50);
  static_cast<void>(ckpt::parse_safetensors_header(json, data_bytes, problems));
  CKPT_CHECK(problems.first() == header.status());  // who stops early and who goes on agree
  if (header.ok()) ckpt::check_accepted(*header, data_bytes);
  return 0;
}
