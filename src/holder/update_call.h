/// The bodies of the two update calls, read and checked.
#pragma once

#include <string>

#include "ckpt/result.h"
#include "holder/front.h"

namespace ckpt {

/// `POST /update_weights_from_ipc {"zmq_handles": {…}, "weight_version": …}`. Other keys are ignored, as SGLang does. invalid_argument.
[[nodiscard]] Result<UpdateCall> read_update_body(const std::string& body);

/// `POST /collective_rpc {"method": "update_weights_from_ipc", "args": [{…}], "kwargs": {"weight_version": …}}`. invalid_argument.
[[nodiscard]] Result<UpdateCall> read_collective_rpc_body(const std::string& body);

}  // namespace ckpt
