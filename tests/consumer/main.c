/* A program of somebody else's: C, against what was installed. */
#include <ckpt/ckpt.h>
#include <stdio.h>

int main(void) {
  if (ckpt_abi_version() != CKPT_ABI_VERSION) return 1;
  printf("ckpt-engine %s\n", ckpt_version());
  return 0;
}
