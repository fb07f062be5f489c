#include "fragments.h"

#include <stddef.h>
#include <string.h>

enum { IPV4 = 0x800, MORE = 0x2000, OFFSET = 0x1fff, HEADER = 20 };
static const int64_t patience = INT64_C(30) * 1000000000; /* ns, as Linux has it (ip-sysctl.rst, ipfrag_time) */

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = value >> 8 & 0xff;
    at[1] = value & 0xff;
}

/* The checksum of a header; of one that has its own, 0 if that is right. */
static uint32_t checksum(const uint8_t *header, uint32_t size)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < size; i += 2)
        sum += get16(header + i);
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    return ~sum & 0xffff;
}

static const uint8_t *refuse(uint32_t *size)
{
    *size = 0;
    return NULL;
}

static struct fragments_packet *packet_of(struct fragments *fragments, const uint8_t *key, int64_t now)
{
    struct fragments_packet *oldest = fragments->packets;

    for (uint32_t i = 0; i < FRAGMENTS_PACKETS; i++) {
        struct fragments_packet *packet = &fragments->packets[i];
        packet->used = packet->used && now - packet->since < patience;
        if (packet->used && !memcmp(packet->key, key, sizeof packet->key))
            return packet;
        if (oldest->used && (!packet->used || packet->since < oldest->since))
            oldest = packet;
    }
    memset(oldest, 0, offsetof(struct fragments_packet, headers));
    oldest->used = true;
    oldest->since = now;
    memcpy(oldest->key, key, sizeof oldest->key);
    return oldest;
}

static bool is_whole(const struct fragments_packet *packet)
{
    for (uint32_t unit = 0; unit * FRAGMENTS_UNIT < packet->length; unit++)
        if (!(packet->came[unit / 8] >> unit % 8 & 1))
            return false;
    return packet->length;
}

static const uint8_t *join(struct fragments *fragments, struct fragments_packet *packet, uint32_t *size)
{
    uint8_t *ip = fragments->joined + FRAGMENTS_ETHERNET;
    uint32_t header = packet->header - FRAGMENTS_ETHERNET;

    packet->used = false;
    if (header + packet->length > FRAGMENTS_LONGEST)
        return refuse(size);
    memcpy(fragments->joined, packet->headers, packet->header);
    memcpy(fragments->joined + packet->header, packet->payload, packet->length);
    put16(ip + 2, header + packet->length);
    put16(ip + 6, 0);
    put16(ip + 10, 0);
    put16(ip + 10, checksum(ip, header));
    *size = packet->header + packet->length;
    return fragments->joined;
}

const uint8_t *fragments_join(struct fragments *fragments, const uint8_t *frame, uint32_t *size, int64_t now)
{
    const uint8_t *ip = frame + FRAGMENTS_ETHERNET;
    struct fragments_packet *packet;
    uint32_t header, length, at;
    uint8_t key[sizeof packet->key];
    bool more;

    if (*size < FRAGMENTS_ETHERNET + HEADER || get16(frame + 12) != IPV4 || !(get16(ip + 6) & (MORE | OFFSET)))
        return frame;
    header = (ip[0] & 15u) * 4;
    length = get16(ip + 2);
    if (ip[0] >> 4 != 4 || header < HEADER || length < header || *size < FRAGMENTS_ETHERNET + length ||
        checksum(ip, header))
        return refuse(size);
    length -= header;
    at = (get16(ip + 6) & OFFSET) * FRAGMENTS_UNIT;
    more = get16(ip + 6) & MORE;
    if (!length || (more && length % FRAGMENTS_UNIT) || at + length > FRAGMENTS_LONGEST)
        return refuse(size);
    memcpy(key, ip + 12, 8);
    memcpy(key + 8, ip + 4, 2);
    key[10] = ip[9];
    packet = packet_of(fragments, key, now);
    if (packet->length && (more ? at + length > packet->length : at + length != packet->length))
        return refuse(size); /* another one has said where the packet ends */
    if (!at) {
        packet->header = FRAGMENTS_ETHERNET + header;
        memcpy(packet->headers, frame, packet->header);
    }
    if (!more)
        packet->length = at + length;
    memcpy(packet->payload + at, ip + header, length);
    for (uint32_t unit = at / FRAGMENTS_UNIT; unit * FRAGMENTS_UNIT < at + length; unit++)
        packet->came[unit / 8] |= (uint8_t)(1u << unit % 8);
    return is_whole(packet) ? join(fragments, packet, size) : NULL;
}
