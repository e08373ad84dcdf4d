// Reader and writer of the engine channel's pickles for a test in Python: one request a line on standard input, one answer a line.
//   read HEX     ▸ "ok TEXT" (pickle_repr, as JSON) or "refused TEXT"
//   write JSON   ▸ HEX       {"kind": none | abort | handle | bucket, …}
#include <iostream>
#include <nlohmann/json.hpp>

#include "channel/pickle_reader.h"
#include "channel/pickle_text.h"
#include "channel/pickle_writer.h"

namespace ckpt {
namespace {

using nlohmann::json;

std::string unhex(const std::string& text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string read(const std::string& pickle) {
  const Result<PickleDocument> document = read_pickle(pickle);
  if (!document.ok()) return "refused " + json(document.status().message()).dump();
  return "ok " + json(pickle_repr(*document, std::size_t{1} << 20)).dump();
}

std::string write(const json& message) {
  const auto kind = message.at("kind").get<std::string>();
  if (kind == "none") return pickle_none();
  if (kind == "abort") return pickle_abort(message.at("text").get<std::string>());
  if (kind == "handle") return pickle_handle(unhex(message.at("ipc").get<std::string>()), message.at("bytes").get<std::uint64_t>());
  std::vector<Parameter> parameters;
  std::vector<PlacedTensor> placed;
  parameters.reserve(message.at("tensors").size());
  for (const json& tensor : message.at("tensors")) {
    Parameter& parameter = parameters.emplace_back();
    parameter.name = tensor.at("name").get<std::string>();
    parameter.dtype = dtype_from_torch_name(tensor.at("dtype").get<std::string>()).value();
    parameter.shape = tensor.at("shape").get<std::vector<std::uint64_t>>();
    placed.push_back({&parameter, tensor.at("offset").get<std::uint64_t>()});
  }
  return pickle_bucket(placed);
}

}  // namespace
}  // namespace ckpt

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const std::string rest = line.substr(line.find(' ') + 1);
    std::cout << (line.starts_with("read ") ? ckpt::read(ckpt::unhex(rest)) : ckpt::hex(ckpt::write(nlohmann::json::parse(rest)))) << std::endl;
  }
  return 0;
}
