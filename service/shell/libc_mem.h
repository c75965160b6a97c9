/* libc's allocator behind the interface of the pure layers. */
#ifndef TALLY_SERVICE_SHELL_LIBC_MEM_H
#define TALLY_SERVICE_SHELL_LIBC_MEM_H

#include "crdt/mem.h"

struct tly_mem tly_libc_mem(void);

#endif
