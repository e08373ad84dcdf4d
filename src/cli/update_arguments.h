/// What `ckpt-engine update` was asked to do: the options of the reference's update script under their names, and ours.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "server/parameter_server.h"

namespace ckpt {

struct UpdateArguments {
  std::string checkpoint_path;
  std::string checkpoint_name = "my-checkpoint-iter-0";
  std::string update_method = "broadcast";
  std::vector<std::string> endpoints;
  std::string engine = "auto";
  std::string dialect = "auto";
  std::string unix_socket;
  std::string weight_version;
  std::string save_metas_file;
  std::string load_metas_file;
  std::string rollback_path;
  std::string rollback_version;  ///< empty: the last part of rollback_path
  std::string trace_file;
  std::uint32_t inference_parallel_size = 0;  ///< 0: all ranks
  std::uint32_t nproc_per_node = 0;           ///< 0: the launcher's environment, or one rank
  std::uint32_t keep_versions = 0;
  double sleep_time_s = 0;
  bool verify = false;
  bool adopt = false;
  bool keep_slots = false;
};

/// ok, or invalid_argument / unsupported with a sentence, before anything is started.
[[nodiscard]] Status check_arguments(const UpdateArguments& arguments);

/// What to send when the update has failed: the checkpoint of rollback_path, to the same engines.
[[nodiscard]] UpdateArguments arguments_to_go_back(const UpdateArguments& arguments);

[[nodiscard]] UpdateTarget target_of(const UpdateArguments& arguments, std::uint32_t num_ranks);

}  // namespace ckpt
