/* Fuzzes what joins the fragments of IPv4 packets: what comes out is no fragment, and whole. */
#include "fragments.h"

#include <stdlib.h>
#include <string.h>

enum { PERIOD = 251, STEPS = 48 };

static uint8_t payload[PERIOD + FRAGMENTS_LONGEST]; /* the byte at each offset; it repeats, so it begins anywhere */

static void check(bool holds)
{
    if (!holds)
        abort();
}

static uint16_t sum(const uint8_t *bytes, uint32_t size)
{
    uint32_t total = 0;

    for (uint32_t i = 0; i < size; i += 2)
        total += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)~total;
}

/* A packet that is right but for what the program says of it; the bytes of its payload say where they lie. */
static uint32_t compose(uint8_t *frame, const uint8_t *program)
{
    uint32_t header = program[0] & 1 ? 20 + (program[0] >> 4) % 11 * 4 : 20, at = (program[1] & 0x1f) << 3;
    uint32_t length = program[0] & 2 ? program[2] << 3 : program[2], where;
    uint8_t *ip = frame + FRAGMENTS_ETHERNET;
    uint16_t wrong;

    if (program[0] & 4)
        at = (program[1] & 0x1f) << 8 | program[3];
    where = at * FRAGMENTS_UNIT;
    memset(frame, 0, FRAGMENTS_ETHERNET + header);
    frame[12] = 8;
    ip[0] = (uint8_t)(4 << 4 | header / 4);
    ip[2] = (header + length) >> 8 & 0xff;
    ip[3] = (header + length) & 0xff;
    ip[5] = program[3] % 10;
    ip[6] = (at >> 8 & 0x1f) | (program[1] & 0xe0);
    ip[7] = at & 0xff;
    memcpy(ip + header, payload + where % PERIOD, length);
    wrong = sum(ip, header);
    ip[10] = wrong >> 8;
    ip[11] = wrong & 0xff;
    if (program[0] & 8)
        frame[12 + program[3] % 22] ^= 1 << program[2] % 8;
    return FRAGMENTS_ETHERNET + header + length;
}

int LLVMFuzzerTestOneInput(const uint8_t *program, size_t size)
{
    static struct fragments *fragments;
    int64_t now = 0;

    if (!fragments) {
        fragments = malloc(sizeof *fragments);
        for (uint32_t i = 0; i < sizeof payload; i++)
            payload[i] = (uint8_t)(i % PERIOD);
    }
    check(fragments);
    for (uint32_t i = 0; i < FRAGMENTS_PACKETS; i++)
        fragments->packets[i].used = false; /* the rest may be anything */
    for (uint32_t step = 0; step < STEPS && size >= 4; step++, program += 4, size -= 4) {
        uint8_t *frame = malloc(4096);
        uint32_t length = compose(frame, program), n;
        const uint8_t *found, *ip;

        if (program[3] >> 7 && program[2] < length)
            length -= program[2];
        frame = realloc(frame, length ? length : 1);
        n = length;
        found = fragments_join(fragments, frame, &n, now);
        now += program[0] >> 7 ? INT64_C(1) << (program[0] >> 4) % 8 * 5 : 0;
        if (found == frame)
            check(n == length && (n < 34 || frame[12] != 8 || frame[13] || !(frame[20] & 0x3f || frame[21])));
        if (found && found != frame) {
            ip = found + FRAGMENTS_ETHERNET;
            uint32_t header = (ip[0] & 15u) * 4;
            check(found == fragments->joined && ip[0] >> 4 == 4 && header >= 20 && !sum(ip, header));
            check(n == FRAGMENTS_ETHERNET + ((uint32_t)ip[2] << 8 | ip[3]) && n > FRAGMENTS_ETHERNET + header);
            check(!ip[6] && !ip[7]);
            check(!memcmp(ip + header, payload, n - FRAGMENTS_ETHERNET - header));
        }
        free(frame);
    }
    return 0;
}
