#include "channel/dialect_memory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "os/file.h"
#include "os/output_file.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxRemembered = 64;
constexpr std::size_t kMaxFileBytes = 256u << 10;

struct Remembered {
  Dialect dialect;
  std::string engine;
};

bool to_be_kept(Dialect dialect) { return dialect == Dialect::one || dialect == Dialect::two; }

/// Lines that are none are passed over.
std::vector<Remembered> read_dialects(const std::string& file) {
  std::vector<Remembered> all;
  const Result<Bytes> content = read_small_file(file, kMaxFileBytes);
  if (!content.ok()) return all;
  for (std::string_view rest = as_text(*content); !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) continue;
    const auto dialect = dialect_from_name(line.substr(0, space));
    if (dialect && to_be_kept(*dialect)) all.push_back({*dialect, std::string(line.substr(space + 1))});
  }
  return all;
}

std::string dialects_text(const std::vector<Remembered>& all) {
  std::string text;
  for (std::size_t i = 0; i < std::min(all.size(), kMaxRemembered); ++i) text += fmt::format("{} {}\n", name(all[i].dialect), all[i].engine);
  return text;
}

bool writable_key(std::string_view engine) {
  return !engine.empty() && engine.size() < 1024 && std::none_of(engine.begin(), engine.end(), [](unsigned char c) { return c < ' '; });
}

}  // namespace

Dialect recall_dialect(const std::string& file, std::string_view engine) {
  for (const Remembered& one : read_dialects(file))
    if (one.engine == engine) return one.dialect;
  return Dialect::automatic;
}

void remember_dialect(const std::string& file, std::string_view engine, Dialect dialect) noexcept {
  if (!writable_key(engine)) return;
  const UniqueFd directory(::open(file.substr(0, file.rfind('/')).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) return;  // one writer at a time
  std::vector<Remembered> all = read_dialects(file);
  const bool known = to_be_kept(dialect);
  if (known && !all.empty() && all[0].engine == engine && all[0].dialect == dialect) return;
  const std::size_t before = all.size();
  std::erase_if(all, [&](const Remembered& one) { return one.engine == engine; });
  if (known) all.insert(all.begin(), {dialect, std::string(engine)});
  if (!known && all.size() == before) return;
  const Status written = write_small_file(file, dialects_text(all));
  if (!written.ok()) log_debug("the dialect of engine {} is not remembered: {}", engine, written.message());
}

}  // namespace ckpt
