/// xxh3 over weights: with the widest registers of the processor, where libxxhash makes that choice at run time (twice to three times the rate of
/// the registers that every processor has).
#pragma once

#define XXH_STATIC_LINKING_ONLY  // what a state is, so that it may lie on the stack
#if defined(CKPT_XXHASH_DISPATCH)
#include <xxh_x86dispatch.h>  // takes the place of the calls in xxhash.h
#else
#include <xxhash.h>
#endif
