/* What the command files share. */
#include "service/shell/resp.h"

bool tly_resp_is(struct tly_slice word, const char *upper)
{
    for (size_t i = 0; i < word.n; i++) {
        uint8_t c = word.p[i];
        if (c >= 'a' && c <= 'z') c = (uint8_t)(c - 'a' + 'A');
        if (upper[i] == '\0' || c != (uint8_t)upper[i]) return false;
    }
    return upper[word.n] == '\0';
}

void tly_resp_lower(const char *name, char lower[TLY_RESP_COMMAND_BYTES_MAX])
{
    size_t n = 0;
    for (; n < TLY_RESP_COMMAND_BYTES_MAX - 1 && name[n] != '\0'; n++)
        lower[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] - 'A' + 'a' : name[n]);
    lower[n] = '\0';
}

bool tly_resp_get_int(struct tly_slice text, int64_t *number)
{
    bool negative = text.n > 0 && text.p[0] == '-';
    size_t i = negative, digits = text.n - i;
    if (digits == 0 || digits > 19 || (text.p[i] == '0' && (digits > 1 || negative))) return false;
    uint64_t value = 0;
    for (; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        value = value * 10 + (uint64_t)(text.p[i] - '0');
    }
    if (value > (uint64_t)INT64_MAX + negative) return false;
    *number = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

void tly_resp_put_result(struct tly_resp *resp, enum tly_result result)
{
    switch (result) {
    case TLY_WRONG_STRATEGY:
        tly_resp_put_error(resp->out, "WRONGTYPE Operation against a key holding the wrong kind of value");
        break;
    case TLY_NOMEM: tly_resp_put_error(resp->out, "OOM %s", tly_result_text(result)); break;
    case TLY_FULL:
        tly_resp_put_error(resp->out, "OOM command not allowed when used memory > 'memory_max'.");
        break;
    default: tly_resp_put_error(resp->out, "ERR %s", tly_result_text(result)); break;
    }
}

void tly_resp_put_done(struct tly_resp *resp, enum tly_result result)
{
    if (result == TLY_OK || result == TLY_NOT_FOUND)
        tly_resp_put_int(resp->out, result == TLY_OK);
    else
        tly_resp_put_result(resp, result);
}

void tly_resp_put_syntax_error(struct tly_resp *resp)
{
    tly_resp_put_error(resp->out, "ERR syntax error");
}

void tly_resp_put_not_int(struct tly_resp *resp)
{
    tly_resp_put_error(resp->out, "ERR value is not an integer or out of range");
}

void tly_resp_put_unknown(struct tly_resp *resp, const char *command, struct tly_slice subcommand)
{
    tly_resp_put_error(resp->out, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                       (int)(subcommand.n < 128 ? subcommand.n : 128), (const char *)subcommand.p, command);
}

void tly_resp_put_help(struct tly_resp *resp, const char *command, struct tly_slice subcommand,
                       const char *help)
{
    if (!tly_resp_is(subcommand, "HELP")) {
        tly_resp_put_unknown(resp, command, subcommand);
        return;
    }
    tly_resp_put_array(resp->out, 1);
    tly_resp_put_simple(resp->out, help);
}

void tly_resp_put_arity(struct tly_resp *resp, const char *command)
{
    char lower[32] = {0};
    for (size_t i = 0; i < sizeof lower - 1 && command[i] != '\0'; i++)
        lower[i] = (char)(command[i] >= 'A' && command[i] <= 'Z' ? command[i] - 'A' + 'a' : command[i]);
    tly_resp_put_error(resp->out, "ERR wrong number of arguments for '%s' command", lower);
}

enum tly_result tly_resp_ask(struct tly_resp *resp, enum tly_request_kind kind, struct tly_slice key,
                             struct tly_reply *reply)
{
    struct tly_request request = {.kind = kind, .key = key};
    return tly_app_ask(resp->app, &request, reply);
}
