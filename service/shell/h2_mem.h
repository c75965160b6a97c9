/* Memory of nghttp2 from an allocator of ours, which is told the sizes of what it gets back. */
#ifndef TALLY_SERVICE_SHELL_H2_MEM_H
#define TALLY_SERVICE_SHELL_H2_MEM_H

#include "crdt/mem.h"

#include <nghttp2/nghttp2.h>

/* mem has to live as long as the session does. */
nghttp2_mem tly_h2_mem(struct tly_mem *mem);

#endif
