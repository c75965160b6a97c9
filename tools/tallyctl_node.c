/* status and peers: what a node says of itself and of the others. */
#include "tools/tallyctl.h"

#include <stdlib.h>

#define TEXT_BYTES 32

enum tly_ctl_exit tly_ctl_status(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    (void)ctl;
    (void)args;
    return TLY_CTL_DONE;
}
enum tly_ctl_exit tly_ctl_peers(const struct tly_ctl *ctl, const struct tly_ctl_args *args)
{
    (void)ctl;
    (void)args;
    return TLY_CTL_DONE;
}
