/// Named places where a test makes production code fail, stop or die. Compiled out unless CKPT_FAULT_POINTS is set.
///
///   CKPT_FAULT_POINT("handover.before_ack");            // in a function that returns Status or Result
///   CKPT_FAULT=handover.before_ack:3:kill               // in the environment: at the third pass, SIGKILL to itself
///
/// Several rules are separated by commas. Actions: `error` (the function returns `internal`), `kill`, `stop` (SIGSTOP), `sleep=SECONDS`,
/// `once=FILE;ACTION` (only the process that creates FILE acts). `*` instead of a name matches each point of a system interface (names that
/// start with `sys.`), counted together, for the loops that fail the nth call. CKPT_FAULT_RANK=2 limits the rules to the process of rank 2.
#pragma once

#include "ckpt/status.h"

namespace ckpt {

/// Counts a pass of `point` and carries out the rule that fits, if any. Thread-safe.
[[nodiscard]] Status fault_point(const char* point);

/// Passes of `sys.*` points so far: tests learn from it how long an nth-call loop must run.
[[nodiscard]] std::uint64_t fault_point_passes();

/// Sets the rules, as the environment would. For tests inside one process. invalid_argument on a rule that cannot be read.
[[nodiscard]] Status set_fault_rules(std::string_view rules);

}  // namespace ckpt

#if defined(CKPT_FAULT_POINTS)
#define CKPT_FAULT_POINT(point) CKPT_RETURN_IF_ERROR(::ckpt::fault_point(point))
#else
#define CKPT_FAULT_POINT(point) static_cast<void>(0)
#endif
