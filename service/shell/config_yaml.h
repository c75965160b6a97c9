/* Reading tally.yaml: what config_yaml.c, which walks the file, and config_limits.c, which knows limits, have in common. */
#ifndef TALLY_SERVICE_SHELL_CONFIG_YAML_H
#define TALLY_SERVICE_SHELL_CONFIG_YAML_H

#include "service/shell/config.h"

#include <yaml.h>

struct tly_loader {
    const char *path;
    struct tly_slice text; /* of the file */
    yaml_document_t document;
    struct tly_config config;
    struct tly_rules *rules;
    bool only_limits;
    const yaml_node_t *on_partition, *zone, *match, *min,
        *max;      /* of the limit that is being read; NULL: not said */
    uint64_t most; /* that of max */
    const struct tly_mem *mem;
    struct tly_config_error *error;
};

/* Both set the error, with the place, and return false: this text; or what stands there and what was expected instead. */
bool tly_yaml_fail(const struct tly_loader *loader, const yaml_node_t *node, const char *text);
bool tly_yaml_expect(const struct tly_loader *loader, const yaml_node_t *node, const char *expected);
yaml_node_t *tly_yaml_node(struct tly_loader *loader, int index);
/* A scalar's text, or NULL with the error set. */
const char *tly_yaml_text(const struct tly_loader *loader, const yaml_node_t *node, const char *expected);

typedef bool tly_yaml_pair(struct tly_loader *loader, void *into, const char *key, yaml_node_t *key_node,
                           yaml_node_t *value);
/* Takes each pair of a map, up to the first that is not taken, or comes twice. */
bool tly_yaml_each_pair(struct tly_loader *loader, const yaml_node_t *map, tly_yaml_pair *take, void *into);

/* config_limits.c: the value of `limits`, into loader->rules. */
bool tly_yaml_take_limits(struct tly_loader *loader, const yaml_node_t *value);

#endif
