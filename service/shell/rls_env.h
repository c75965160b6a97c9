/*
 * The environment of envoyproxy/ratelimit: started with the same variables, tallyd listens where it did and loads what it did.  They are
 * looked at when RUNTIME_ROOT, RUNTIME_SUBDIRECTORY or CONFIG_TYPE is set, for HOST and PORT alone may mean anything; the file and -o
 * come after them.  Those about Redis and memcached are read, said to be not needed, and ignored.
 */
#ifndef TALLY_SERVICE_SHELL_RLS_ENV_H
#define TALLY_SERVICE_SHELL_RLS_ENV_H

#include "service/shell/config.h"

/* environment: "NAME=value", ended by NULL. False: error says which variable is wrong, and config is not to be used. */
bool tly_rls_env(struct tly_config *config, const char *const *environment, struct tly_config_error *error);

/* What an operator should know of the variables that were set; "" when there is nothing. One line each. */
struct tly_rls_env_notes {
    char text[4096];
};
void tly_rls_env_look(const char *const *environment, struct tly_rls_env_notes *notes);

#endif
