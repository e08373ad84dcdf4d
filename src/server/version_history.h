/// The versions that engines were given, and those that this rank can still send: what going back goes by.
///
///   updates went well                 … v1  v2 │ v3    v3 serves. One version is kept: v2 in the pool, and v3 too once its name is unregistered
///   v4 is about to be loaded          …  -   - │ v3    it takes the memory of v2: two arenas in turn
///   its update failed, or was a mistake           v3 is the version before
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ckpt/result.h"
#include "server/registration.h"

namespace ckpt {

/// One that was in service.
struct Version {
  std::string name;                            ///< of its checkpoint
  std::string weight_version;                  ///< what engines call it
  std::shared_ptr<Registration> registration;  ///< null: lost
  std::uint64_t number = 0;                    ///< of its update: the same on all ranks
  std::string why_lost = {};                   ///< after "the version before, …"
};

/// Keeps `num_kept` versions before the one in service, and that one too once nothing else does; with 0 only what is listed under a name counts.
/// Threads: one.
class VersionHistory {
 public:
  explicit VersionHistory(std::uint64_t num_kept) : num_kept_(num_kept) {}

  /// An update starts, which has failed until it is said to have gone well.
  void update_begins() { failed_ = true; }
  void went_well(Version version);
  /// The same for one that was there before: those after it are forgotten.
  void went_back_to(std::uint64_t number);
  /// Its name is gone: what was in service may be kept. Not files in the caller's memory, which are his again.
  void unlisted(Registration& registration);
  /// A checkpoint is about to be loaded, and is to take the memory of a version that is kept no longer.
  void make_room();
  /// Gives up all that only this keeps. Whether that was anything.
  bool give_up(const std::string& why);

  /// After an update that failed the version that went well last, else the one before. failed_precondition: there is none, or it is lost.
  [[nodiscard]] Result<Version> before() const;
  /// How many versions before `now` can be gone back to, one after the other.
  [[nodiscard]] std::uint32_t num_before(const Registration& now) const;
  /// What was given up since this was asked last: a sentence, or nothing.
  [[nodiscard]] std::string take_note() { return std::exchange(note_, {}); }

 private:
  void keep_newest(std::uint64_t count);
  static bool lose(Version& version, const std::string& why);
  void forget_long_lost();

  const std::uint64_t num_kept_;
  std::uint64_t num_updates_ = 0;
  std::vector<Version> versions_;  // as they went into service; the latest last
  bool failed_ = false;            // the last update
  std::string note_;
};

}  // namespace ckpt
