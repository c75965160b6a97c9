/*
 * What the gRPC door speaks, described as protobuf describes itself: a FileDescriptorProto for each .proto file, made from a table.
 * Only what this door reads or writes is in it, under the published names and numbers.
 */
#ifndef TALLY_SERVICE_SHELL_GRPC_FILES_H
#define TALLY_SERVICE_SHELL_GRPC_FILES_H

#include "wire/buf.h"

/* The file of that name, or the one that has this symbol (a message, an enumeration, a service, or one of its methods), as a
 * FileDescriptorProto behind what is in `out`. False: there is none. */
bool tly_grpc_file_named(struct tly_slice name, struct tly_buf *out);
bool tly_grpc_file_with(struct tly_slice symbol, struct tly_buf *out);
/* The i-th service's full name, of up to size bytes with its end; false past the last one. */
bool tly_grpc_service_at(size_t i, char *name, size_t size);

#endif
