#include "capi/error.h"

namespace ckpt::capi {

std::int32_t hand_out(const Status& status, ckpt_error** error) {
  if (!status.ok() && error != nullptr) *error = new ckpt_error{status, status.to_string()};
  return static_cast<std::int32_t>(status.code());
}

}  // namespace ckpt::capi

std::int32_t ckpt_abi_version(void) { return CKPT_ABI_VERSION; }
const char* ckpt_version(void) { return CKPT_VERSION; }

const char* ckpt_code_name(std::int32_t code) {
  if (code < 0 || code >= static_cast<std::int32_t>(ckpt::kStatusCodes.size())) return nullptr;
  return ckpt::name(static_cast<ckpt::StatusCode>(code)).data();  // of a literal: ends in zero
}

std::int32_t ckpt_error_code(const ckpt_error* error) { return static_cast<std::int32_t>(error->status.code()); }
const char* ckpt_error_text(const ckpt_error* error) { return error->text.c_str(); }
const char* ckpt_error_message(const ckpt_error* error) { return error->status.message().c_str(); }
const char* ckpt_error_stage(const ckpt_error* error) { return error->status.stage().c_str(); }
const char* ckpt_error_advice(const ckpt_error* error) { return error->status.advice().c_str(); }
std::int32_t ckpt_error_rank(const ckpt_error* error) { return error->status.rank().value_or(-1); }
void ckpt_error_free(ckpt_error* error) { delete error; }
