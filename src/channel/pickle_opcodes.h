/// The opcodes of Python's pickle module, by their names in pickletools.
#pragma once

#include <string>

namespace ckpt {

/// Those that the reader takes; every other one is refused.
enum class PickleOp : unsigned char {
  proto = 0x80,
  frame = 0x95,
  stop = '.',
  none = 'N',
  newtrue = 0x88,
  newfalse = 0x89,
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  long1 = 0x8a,
  binfloat = 'G',
  short_binunicode = 0x8c,
  binunicode = 'X',
  short_binbytes = 'C',
  binbytes = 'B',
  mark = '(',
  empty_tuple = ')',
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  tuple = 't',
  empty_list = ']',
  append = 'a',
  appends = 'e',
  empty_dict = '}',
  setitem = 's',
  setitems = 'u',
  global = 'c',
  stack_global = 0x93,
  reduce = 'R',
  memoize = 0x94,
  binget = 'h',
  long_binget = 'j',
  binput = 'q',
  long_binput = 'r',
};

/// "REDUCE", "BUILD", …; "0x07" where pickle has no such opcode.
[[nodiscard]] std::string pickle_opcode_name(unsigned char opcode);

}  // namespace ckpt
