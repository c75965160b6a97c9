/* grpc.reflection.v1 and v1alpha, which have the same messages: what grpcurl and the like ask before they ask anything else. */
#include "service/shell/grpc_files.h"
#include "service/shell/grpc_methods.h"

#include "wire/protobuf.h"

enum { HOST = 1, FILE_NAME = 3, SYMBOL = 4, LIST = 7 };

static void put_error(struct tly_buf *out, enum tly_grpc_code code, const char *text)
{
    size_t begun = tly_pb_begin(out, 7);
    tly_pb_put_varint(out, 1, code);
    tly_pb_put_text(out, 2, text);
    tly_pb_end(out, begun);
}

static void put_services(struct tly_buf *out)
{
    char name[128];
    size_t begun = tly_pb_begin(out, 6);
    for (size_t i = 0; tly_grpc_service_at(i, name, sizeof name); i++) {
        size_t service = tly_pb_begin(out, 1);
        tly_pb_put_text(out, 1, name);
        tly_pb_end(out, service);
    }
    tly_pb_end(out, begun);
}

static void put_file(struct tly_buf *out, const struct tly_pb_field *asked)
{
    size_t before = out->n, begun = tly_pb_begin(out, 4), file = tly_pb_begin(out, 1);
    bool found = asked->number == FILE_NAME ? tly_grpc_file_named(asked->bytes, out)
                                            : tly_grpc_file_with(asked->bytes, out);
    tly_pb_end(out, file);
    tly_pb_end(out, begun);
    if (found || out->result != TLY_OK) return;
    out->n = before;
    put_error(out, TLY_GRPC_NOT_FOUND,
              asked->number == FILE_NAME ? "there is no such file" : "there is no such symbol");
}

void tly_grpc_reflect(struct tly_grpc_call *call, struct tly_slice message)
{
    struct tly_pb in = tly_pb_of(message);
    struct tly_pb_field asked = {0};
    for (struct tly_pb_field field; tly_pb_next(&in, &field);)
        if (field.type == TLY_PB_BYTES && field.number != HOST) asked = field;
    if (in.bad) {
        tly_grpc_fail(call, TLY_GRPC_INTERNAL,
                      "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data");
        return;
    }
    struct tly_buf *out = tly_grpc_begin_message(call);
    tly_pb_put_bytes(out, 2, message);
    if (asked.number == LIST)
        put_services(out);
    else if (asked.number == FILE_NAME || asked.number == SYMBOL)
        put_file(out, &asked);
    else
        put_error(out, TLY_GRPC_UNIMPLEMENTED,
                  "list_services, file_by_filename or file_containing_symbol was expected");
    tly_grpc_end_message(call);
}
