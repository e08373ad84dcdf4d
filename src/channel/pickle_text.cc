#include "channel/pickle_text.h"

#include <fmt/core.h>

#include "channel/peer_text.h"
#include "channel/pickle_globals.h"

namespace ckpt {
namespace {

using Kind = PickleValue::Kind;

class ReprWriter {
 public:
  ReprWriter(const PickleDocument& document, std::size_t max_bytes) : document_(document), max_bytes_(max_bytes) {}

  void write(PickleIndex index) {
    const PickleValue& value = document_.at(index);
    if (full()) return;
    switch (value.kind) {
      case Kind::none: out_ += "None"; return;
      case Kind::boolean: out_ += value.integer != 0 ? "True" : "False"; return;
      case Kind::integer: out_ += fmt::format("{}", value.integer); return;
      case Kind::floating: out_ += fmt::format("{:.17g}", value.floating); return;
      case Kind::text: return text(value.text);
      case Kind::bytes: return bytes(value.text);
      case Kind::tuple: return row("(", value, value.items.size() == 1 ? ",)" : ")");
      case Kind::list: return row("[", value, "]");
      case Kind::dict: return dict(value);
      case Kind::global: out_ += fmt::format("{}.{}", value.module, value.text); return;
      case Kind::call: write(value.items[0]); return row("(", document_.at(value.items[1]), ")");
    }
  }
  std::string finish() {
    if (full()) out_ += "…";
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool full() const { return out_.size() >= max_bytes_; }
  void text(std::string_view value) {
    std::string escaped;
    for (const char c : value.substr(0, max_bytes_ * 2)) {
      if (c == '"' || c == '\\') escaped += '\\';
      escaped += c;
    }
    out_ += fmt::format("\"{}\"", peer_text(escaped, max_bytes_));
  }
  void bytes(std::string_view value) {
    out_ += "b\"";
    for (const char byte : value) {
      if (full()) return;
      out_ += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    }
    out_ += '"';
  }
  void row(std::string_view open, const PickleValue& value, std::string_view close) {
    out_ += open;
    for (std::size_t i = 0; i < value.items.size() && !full(); ++i) {
      if (i > 0) out_ += ", ";
      write(value.items[i]);
    }
    out_ += close;
  }
  void dict(const PickleValue& value) {
    out_ += '{';
    for (std::size_t i = 0; i + 1 < value.items.size() && !full(); i += 2) {
      if (i > 0) out_ += ", ";
      write(value.items[i]);
      out_ += ": ";
      write(value.items[i + 1]);
    }
    out_ += '}';
  }

  const PickleDocument& document_;
  const std::size_t max_bytes_;
  std::string out_;
};

}  // namespace

std::string pickle_repr(const PickleDocument& document, std::size_t max_bytes) {
  ReprWriter writer(document, max_bytes);
  writer.write(document.root);
  return writer.finish();
}

std::optional<std::string> pickled_exception(const PickleDocument& document, std::size_t max_bytes) {
  const PickleValue& root = document.at(document.root);
  if (root.kind != Kind::call) return std::nullopt;
  const PickleValue& type = document.at(root.items[0]);
  if (pickle_global(type.module, type.text) != PickleGlobal::exception) return std::nullopt;
  std::string text = type.module == "builtins" ? std::string(type.text) : fmt::format("{}.{}", type.module, type.text);
  const PickleValue& arguments = document.at(root.items[1]);
  if (arguments.items.empty()) return text;
  if (arguments.items.size() == 1 && document.at(arguments.items[0]).kind == Kind::text)
    return fmt::format("{}: {}", text, peer_text(document.at(arguments.items[0]).text, max_bytes));
  ReprWriter writer(document, max_bytes);
  writer.write(root.items[1]);
  return fmt::format("{}: {}", text, writer.finish());
}

}  // namespace ckpt
