/// What `ckpt-engine doctor` reports: one line a fact of this machine, and for what is lacking its cost and its mend.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ckpt {

enum class Verdict : std::uint8_t {
  good,
  note,  ///< a fact that may matter; nothing to mend
  lack,  ///< costs speed, or makes something fail
};
[[nodiscard]] std::string_view name(Verdict verdict);  ///< "ok", "note", "lack"

struct Finding {
  std::string topic;  ///< "memory", "libraries", …: groups the output
  std::string what;   ///< "memlock limit"
  std::string value;  ///< "8.39 MB"
  Verdict verdict = Verdict::good;
  std::string cost;  ///< what a lack costs; empty otherwise
  std::string mend;  ///< what to do about it; a command where there is one
};

/// For people: grouped by topic, costs and mends below their line, a count of lacks at the end.
[[nodiscard]] std::string findings_text(std::span<const Finding> findings);
/// `{"lacks": 1, "findings": [{"topic": …, "what": …, "value": …, "verdict": …, "cost": …, "mend": …}]}`
[[nodiscard]] std::string findings_json(std::span<const Finding> findings);

}  // namespace ckpt
