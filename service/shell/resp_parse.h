/*
 * Decodes RESP requests: arrays of bulk strings, and lines ("inline commands", as a person types them).  Owns nothing: what it
 * gives are slices of the input.
 *
 *     *2\r\n $4\r\n ECHO\r\n $2\r\n hi\r\n          ECHO "a \x41"\r\n
 *
 * A request that is not complete is not looked at from its beginning again: the scan remembers how far it is well formed
 * and how many bytes it will have at least.
 */
#ifndef TALLY_SERVICE_SHELL_RESP_PARSE_H
#define TALLY_SERVICE_SHELL_RESP_PARSE_H

#include "wire/buf.h"

#define TLY_RESP_ARGS_MAX 1024
#define TLY_RESP_ARG_BYTES_MAX (65536u + 512u)
#define TLY_RESP_LINE_BYTES_MAX 65536u
/* Of a whole request. */
#define TLY_RESP_REQUEST_BYTES_MAX (1024u * 1024u)

/* What is known of a request that has begun; {0} before each. */
struct tly_resp_scan {
    size_t at;   /* well formed up to here */
    size_t need; /* it has at least so many bytes */
    uint32_t args, seen;
};

struct tly_resp_request {
    size_t bytes;          /* of the whole request */
    size_t count;          /* 0: an empty line or array, to be passed over */
    struct tly_slice *arg; /* the caller's, with room for TLY_RESP_ARGS_MAX */
    bool is_inline;
    const char *error; /* why it is malformed, in redis' words */
};

/*
 * Reads the request at the beginning of `in`, of which `scan` has seen a beginning perhaps.
 *   TLY_OK            request->bytes belong to it; the scan is {0} again
 *   TLY_MORE          the beginning of a request
 *   TLY_BAD_MESSAGE   request->error says why; the connection has lost its rhythm and must be closed
 *   TLY_NOMEM
 * Quoted arguments of a line are put into `scratch`, where they stay until its next use.
 */
enum tly_result tly_resp_parse(struct tly_slice in, struct tly_resp_scan *scan, struct tly_buf *scratch,
                               struct tly_resp_request *request) TLY_MUST_CHECK;

/* A request without one of its arguments: all of it up to that one's length, and all behind it. Borrowed from its bytes. */
struct tly_resp_frame {
    struct tly_slice head, tail; /* no head: there is none */
};

/* Of the request that was read at `p`, without its argument of that number; none of a line or of what is not short. */
struct tly_resp_frame tly_resp_frame_of(const uint8_t *p, const struct tly_resp_request *request,
                                        size_t number);
/*
 * How many bytes the request at the beginning of `in` has that is in this frame, and what of its own is in it; 0: it is in none, or not
 * all of it is here, and tly_resp_parse has to look. What that would read differs from the frame's in this argument only.
 */
size_t tly_resp_parse_framed(struct tly_slice in, const struct tly_resp_frame *frame, struct tly_slice *arg);

#endif
