#include "server/version_history.h"

#include <algorithm>

namespace ckpt {
namespace {

/// Of which the caller may make what he likes once the name is gone.
bool lies_in_files(const Registration& registration) {
  if (!registration.part) return false;
  const std::vector<SegmentInfo>& segments = registration.part->segments();
  return std::any_of(segments.begin(), segments.end(), [](const SegmentInfo& segment) { return !segment.path.empty(); });
}

}  // namespace

void VersionHistory::went_well(Version version) {
  std::erase_if(versions_, [&](const Version& known) { return known.registration == version.registration; });
  version.number = ++num_updates_;
  versions_.push_back(std::move(version));
  failed_ = false;
  keep_newest(num_kept_ + 1);
}

void VersionHistory::went_back_to(std::uint64_t number) {
  ++num_updates_;
  while (!versions_.empty() && versions_.back().number != number) versions_.pop_back();
  failed_ = false;
}

void VersionHistory::unlisted(Registration& registration) {
  registration.listed = false;
  const bool callers = lies_in_files(registration);
  for (Version& version : versions_)
    if (version.registration.get() == &registration && (num_kept_ == 0 || callers)) {
      lose(version, callers ? "is not registered any more, and used files where they lie" : "is not registered any more");
      break;
    }
  keep_newest(num_kept_ + 1);
}

void VersionHistory::make_room() { keep_newest(num_kept_); }

void VersionHistory::keep_newest(std::uint64_t count) {
  const std::size_t old = versions_.size() - std::min<std::size_t>(versions_.size(), count);
  for (std::size_t i = 0; i < old; ++i) lose(versions_[i], "is not registered any more, and too old to be kept");
  forget_long_lost();
}

bool VersionHistory::give_up(const std::string& why) {
  std::size_t count = 0;
  for (Version& version : versions_) count += lose(version, "is not kept any more: " + why) ? 1 : 0;
  if (count > 0) note_ = fmt::format("no earlier version is kept: {}", why);
  forget_long_lost();
  return count > 0;
}

/// True if memory was let go.
bool VersionHistory::lose(Version& version, const std::string& why) {
  if (!version.registration || version.registration->listed) return false;
  version.registration.reset();
  version.why_lost = why;
  return true;
}

/// Of lost versions in a row the newest two are told of, if it comes to that: one may be in service, and the other the one before.
void VersionHistory::forget_long_lost() {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < versions_.size(); ++i) {
    const bool two_follow = i + 2 < versions_.size() && !versions_[i + 1].registration && !versions_[i + 2].registration;
    if (!versions_[i].registration && two_follow) continue;
    if (kept != i) versions_[kept] = std::move(versions_[i]);
    ++kept;
  }
  versions_.resize(kept);
}

Result<Version> VersionHistory::before() const {
  const std::size_t newer = failed_ ? 1 : 2;
  if (versions_.size() < newer)
    return Status(StatusCode::failed_precondition, Scope::operation, "there is no version before").advise("update once more");
  const Version& version = versions_[versions_.size() - newer];
  if (version.registration) return version;
  return Status(StatusCode::failed_precondition, Scope::operation, "checkpoint {}, the version before, {}", version.name, version.why_lost)
      .advise("keep versions (keep_versions), or a checkpoint registered until the update after it has gone well");
}

std::uint32_t VersionHistory::num_before(const Registration& now) const {
  std::uint32_t count = 0;
  for (auto version = versions_.rbegin(); version != versions_.rend() && version->registration; ++version)
    if (version->registration.get() != &now && (count < num_kept_ || version->registration->listed)) ++count;
  return count;
}

}  // namespace ckpt
