#include "wire/pack.h"

#include <msgpack/pack.h>

/* The packer stops at an error by itself; a buffer that has failed swallows the rest just as well. */
static int append(void *out, const char *bytes, size_t n)
{
    tly_buf_put(out, bytes, n);
    return 0;
}

static msgpack_packer packer_of(struct tly_buf *out)
{
    return (msgpack_packer){.data = out, .callback = append};
}

void tly_put_uint(struct tly_buf *out, uint64_t value)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_uint64(&packer, value);
}

void tly_put_int(struct tly_buf *out, int64_t value)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_int64(&packer, value);
}

void tly_put_bool(struct tly_buf *out, bool value)
{
    msgpack_packer packer = packer_of(out);
    if (value)
        (void)msgpack_pack_true(&packer);
    else
        (void)msgpack_pack_false(&packer);
}

void tly_put_text(struct tly_buf *out, struct tly_slice text)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_str(&packer, text.n);
    tly_buf_put(out, text.p, text.n);
}

void tly_put_bytes(struct tly_buf *out, struct tly_slice bytes)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_bin(&packer, bytes.n);
    tly_buf_put(out, bytes.p, bytes.n);
}

void tly_put_array(struct tly_buf *out, size_t elements)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_array(&packer, elements);
}

void tly_put_map(struct tly_buf *out, size_t pairs)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_map(&packer, pairs);
}
