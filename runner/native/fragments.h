/* The fragments of a guest's IPv4 packets (RFC 791), joined before anything else sees them. */
#ifndef VMRUN_FRAGMENTS_H
#define VMRUN_FRAGMENTS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    FRAGMENTS_ETHERNET = 14, /* bytes of the header before a packet */
    FRAGMENTS_LONGEST = 0xffff, /* bytes of a packet */
    FRAGMENTS_PACKETS = 8, /* that are incomplete at a time: the oldest makes room for another one */
    FRAGMENTS_UNIT = 8, /* bytes: offsets are multiples of it */
};

struct fragments {
    struct fragments_packet {
        bool used;
        int64_t since; /* ns */
        uint8_t key[11]; /* both addresses, the identification, the protocol */
        uint32_t header; /* bytes of the first fragment's headers, with Ethernet's */
        uint32_t length; /* bytes of the payload, 0: the last fragment has not come */
        uint8_t came[(FRAGMENTS_LONGEST / FRAGMENTS_UNIT + 1) / 8]; /* a bit for each unit of the payload */
        uint8_t headers[FRAGMENTS_ETHERNET + 60];
        uint8_t payload[FRAGMENTS_LONGEST + FRAGMENTS_UNIT];
    } packets[FRAGMENTS_PACKETS];
    uint8_t joined[FRAGMENTS_ETHERNET + FRAGMENTS_LONGEST];
};

/* Take a frame, which nobody changes meanwhile. Returns the frame to go on with, and its size: the same one if it is no
 * fragment, the packet that it completes, or NULL; the size is 0 then if it is malformed. `now` in ns decides which
 * fragments are too old. */
const uint8_t *fragments_join(struct fragments *fragments, const uint8_t *frame, uint32_t *size, int64_t now);

#endif
