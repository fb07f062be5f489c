/* Moves bytes between two machines and compares their checksums, by TCP, Unix or virtio sockets. It runs on both sides.
 *
 *     traffic serve ADDRESS                       answers each call, until it is killed
 *     traffic call ADDRESS send|receive BYTES     prints what was asked, the bytes, and the checksums of both sides
 *     traffic sum BYTES                           prints the checksum of so many bytes
 *     traffic flood IP PORT                       sends UDP datagrams until it is killed, whatever happens to them
 *
 * ADDRESS is tcp IP PORT, unix PATH, vsock CID PORT, or connect PATH PORT: a Unix socket that is first asked for a port.
 * The bytes come from a generator of 64-bit words, so a byte that is lost, moved or changed changes the checksum. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { WORDS = 8192 };

struct request {
    uint64_t send, bytes; /* send: the caller does */
};

struct stream {
    uint64_t word, sum, bytes, total;
    uint64_t words[WORDS];
};

static uint64_t next(uint64_t *word)
{
    *word ^= *word << 13;
    *word ^= *word >> 7;
    *word ^= *word << 17;
    return *word;
}

static void add(struct stream *stream, uint64_t size)
{
    if (size % 8)
        memset((uint8_t *)stream->words + size, 0, 8 - size % 8);
    for (uint64_t i = 0; i < (size + 7) / 8; i++)
        stream->sum = stream->sum * 31 + stream->words[i];
    stream->total += size;
}

/* Write all, or end the call. */
static bool put(int fd, const void *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = write(fd, (const uint8_t *)bytes + at, size - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* Read all, or as much as there is. */
static size_t get(int fd, void *bytes, size_t size)
{
    size_t at = 0;

    while (at < size) {
        ssize_t n = read(fd, (uint8_t *)bytes + at, size - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    return at;
}

static uint64_t made(int fd, uint64_t bytes)
{
    static struct stream stream;

    stream.word = 88172645463325252, stream.sum = stream.total = 0;
    while (stream.total < bytes) {
        uint64_t left = bytes - stream.total, size = left < sizeof stream.words ? left : sizeof stream.words;
        for (int i = 0; i < WORDS; i++)
            stream.words[i] = next(&stream.word);
        if (fd >= 0 && !put(fd, stream.words, size)) {
            printf("traffic: after %ju bytes: %s\n", (uintmax_t)stream.total, strerror(errno));
            break;
        }
        add(&stream, size);
    }
    return stream.sum;
}

static uint64_t taken(int fd, uint64_t bytes)
{
    static struct stream stream;

    stream.sum = stream.total = 0;
    while (stream.total < bytes) {
        uint64_t left = bytes - stream.total, size = left < sizeof stream.words ? left : sizeof stream.words;
        uint64_t got = get(fd, stream.words, size);
        add(&stream, got);
        if (got < size) {
            printf("traffic: the end after %ju bytes: %s\n", (uintmax_t)stream.total, strerror(errno));
            break;
        }
    }
    return stream.sum;
}

/* Send or take the bytes, then exchange checksums. */
static uint64_t exchanged(int fd, bool send, uint64_t bytes, uint64_t *other)
{
    uint64_t sum = send ? made(fd, bytes) : taken(fd, bytes);

    *other = 0;
    put(fd, &sum, sizeof sum);
    get(fd, other, sizeof *other);
    return sum;
}

static int end(char **words, bool serves)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
        struct sockaddr_vm vm;
    } address = {0};
    socklen_t size = sizeof address.in;
    int fd, on = 1;

    if (!strcmp(words[0], "tcp")) {
        address.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
        inet_pton(AF_INET, words[1], &address.in.sin_addr);
    } else if (!strcmp(words[0], "vsock")) {
        address.vm.svm_family = AF_VSOCK;
        address.vm.svm_cid = (unsigned)atol(words[1]);
        address.vm.svm_port = (unsigned)atoi(words[2]);
        size = sizeof address.vm;
    } else {
        address.un.sun_family = AF_UNIX;
        snprintf(address.un.sun_path, sizeof address.un.sun_path, "%s", words[1]);
        size = sizeof address.un;
    }
    fd = socket(address.any.sa_family, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (serves ? bind(fd, &address.any, size) || listen(fd, 16) : connect(fd, &address.any, size)) {
        printf("traffic: %s %s: %s\n", words[0], words[1], strerror(errno));
        exit(1);
    }
    if (!strcmp(words[0], "connect")) {
        char line[64];
        int at = 0, n = snprintf(line, sizeof line, "CONNECT %s\n", words[2]);
        put(fd, line, (size_t)n);
        while (at < 63 && read(fd, line + at, 1) == 1 && line[at++] != '\n')
            ;
        if (strncmp(line, "OK ", 3)) {
            printf("traffic: port %s: refused\n", words[2]);
            exit(1);
        }
    }
    return fd;
}

static void serve(int listener)
{
    for (;;) {
        struct request request;
        uint64_t other;
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0 && get(fd, &request, sizeof request) == sizeof request)
            exchanged(fd, !request.send, request.bytes, &other);
        close(fd);
    }
}

static void flood(const char *host, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    static char datagram[1400];
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    inet_pton(AF_INET, host, &address.sin_addr);
    for (int n = 1;; n++)
        if (sendto(fd, datagram, sizeof datagram, 0, (struct sockaddr *)&address, sizeof address) < 0 || n % 32 == 0)
            usleep(2000); /* the guest has other things to do too */
}

int main(int argc, char **words)
{
    int port;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && !strcmp(words[1], "sum"))
        printf("%016jx\n", (uintmax_t)made(-1, strtoull(words[2], NULL, 0)));
    else if (argc == 4 && !strcmp(words[1], "flood"))
        flood(words[2], words[3]);
    else if (argc > 3 && !strcmp(words[1], "serve"))
        serve(end(words + 2, true));
    else if (argc > 4 && !strcmp(words[1], "call")) {
        struct request request = {!strcmp(words[argc - 2], "send"), strtoull(words[argc - 1], NULL, 0)};
        uint64_t sum, other;
        port = end(words + 2, false);
        put(port, &request, sizeof request);
        sum = exchanged(port, request.send, request.bytes, &other);
        printf("traffic: %s %s %ju %016jx %016jx\n", words[2], words[argc - 2], (uintmax_t)request.bytes,
               (uintmax_t)sum, (uintmax_t)other);
        return sum != other;
    } else
        return 2;
    return 0;
}
