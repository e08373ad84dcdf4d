#include "cli/doctor/finding.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace ckpt {

std::string_view name(Verdict verdict) {
  constexpr std::string_view kNames[] = {"ok", "note", "lack"};
  return kNames[static_cast<std::size_t>(verdict)];
}

std::string findings_text(std::span<const Finding> findings) {
  std::string text;
  std::string_view topic;
  for (const Finding& finding : findings) {
    if (finding.topic != topic) text += fmt::format("{}{}\n", topic.empty() ? "" : "\n", finding.topic);
    topic = finding.topic;
    text += fmt::format("  {:<4}  {:<24}  {}\n", name(finding.verdict), finding.what, finding.value);
    if (!finding.cost.empty()) text += fmt::format("        costs: {}\n", finding.cost);
    if (!finding.mend.empty()) text += fmt::format("        {}{}\n", finding.verdict == Verdict::lack ? "mend:  " : "", finding.mend);
  }
  const auto lacks = std::ranges::count(findings, Verdict::lack, &Finding::verdict);
  text += lacks == 0 ? "\nNothing is lacking.\n" : fmt::format("\n{} lacking: see \"costs\" and \"mend\" above.\n", lacks);
  return text;
}

std::string findings_json(std::span<const Finding> findings) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Finding& finding : findings)
    list.push_back({{"topic", finding.topic},
                    {"what", finding.what},
                    {"value", finding.value},
                    {"verdict", name(finding.verdict)},
                    {"cost", finding.cost},
                    {"mend", finding.mend}});
  const nlohmann::ordered_json document = {{"lacks", std::ranges::count(findings, Verdict::lack, &Finding::verdict)}, {"findings", std::move(list)}};
  return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace ckpt
