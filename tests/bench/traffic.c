/* What drives a disk and a network in a guest, as its first process, for tests/bench/invirtio.py.
 *
 * It reads lines from its console and answers each: `KIND DEPTH MS` with `result COUNT BYTES NS`, of reads or writes of
 * the disk (KIND is read, write, randread, randwrite; DEPTH are in flight), or with its other side on the host (send,
 * receive: bytes by TCP; trip: a byte there and back). As `traffic serve` it is that other side. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { SEND = 5001, RECEIVE, TRIP, DEPTHS = 64, SMALL = 4096, LARGE = 256 << 10, PIECE = 128 << 10 };

struct result {
    uint64_t count, bytes;
};

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void must(bool good, const char *what)
{
    if (good)
        return;
    printf("traffic: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    for (;;)
        pause();
}

static uint64_t any(void) /* xorshift64 */
{
    static uint64_t x = 88172645463325252;

    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

/* Random reads or writes of 4 KiB, or sequential ones of 256 KiB, of which `depth` are in flight. */
static struct result disk(const char *kind, unsigned depth, uint64_t end)
{
    bool random = !strncmp(kind, "rand", 4), write = strstr(kind, "write");
    uint32_t size = random ? SMALL : LARGE;
    int fd = open("/dev/vda", (write ? O_WRONLY : O_RDONLY) | O_DIRECT);
    uint64_t blocks = (uint64_t)lseek(fd, 0, SEEK_END) / size, next = 0;
    struct iocb requests[DEPTHS], *idle[DEPTHS];
    struct io_event events[DEPTHS];
    struct result result = {0};
    aio_context_t context = 0;
    uint8_t *memory = aligned_alloc(SMALL, (size_t)depth * size);
    unsigned n_idle = depth;

    must(fd >= 0 && memory, "/dev/vda");
    must(!syscall(SYS_io_setup, DEPTHS, &context), "io_setup");
    memset(memory, 0x5a, (size_t)depth * size);
    for (unsigned i = 0; i < depth; i++)
        idle[i] = &requests[i];
    for (;;) {
        bool more = now() < end;
        long n;
        if (more && n_idle) {
            for (unsigned i = 0; i < n_idle; i++)
                *idle[i] = (struct iocb){.aio_fildes = (uint32_t)fd,
                                         .aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                                         .aio_buf = (uintptr_t)(memory + (size_t)(idle[i] - requests) * size),
                                         .aio_nbytes = size,
                                         .aio_offset = (int64_t)((random ? any() : next++) % blocks * size)};
            must(syscall(SYS_io_submit, context, (long)n_idle, idle) == (long)n_idle, "io_submit");
            n_idle = 0;
        }
        if (n_idle == depth)
            break;
        n = syscall(SYS_io_getevents, context, 1L, (long)depth, events, NULL);
        must(n > 0, "io_getevents");
        for (long i = 0; i < n; i++) {
            must(events[i].res == (int64_t)size, "a request");
            idle[n_idle++] = (struct iocb *)(uintptr_t)events[i].obj;
        }
        result.count += (uint64_t)n;
        result.bytes += (uint64_t)n * size;
    }
    syscall(SYS_io_destroy, context);
    close(fd);
    free(memory);
    return result;
}

/* One byte at a time is one packet each way. */
static int connected(const char *address, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    inet_pton(AF_INET, address, &to.sin_addr);
    must(!connect(fd, (struct sockaddr *)&to, sizeof to), "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static struct result network(int port, uint64_t end)
{
    static uint8_t piece[PIECE];
    int fd = connected(getenv("peer"), port);
    struct result result = {0};

    while (now() < end) {
        ssize_t n = port == RECEIVE ? read(fd, piece, sizeof piece) : write(fd, piece, port == SEND ? sizeof piece : 1);
        must(n > 0, "the other side");
        if (port == TRIP)
            must(read(fd, piece, 1) == 1, "the other side");
        result.count++;
        result.bytes += (uint64_t)n;
    }
    if (port == SEND) { /* until the other side has it all */
        shutdown(fd, SHUT_WR);
        must(!read(fd, piece, 1), "the other side");
    }
    close(fd);
    return result;
}

/* The other side of a connection. */
static void *other(void *argument)
{
    int fd = (int)(intptr_t)argument & 0xffff, port = (int)((intptr_t)argument >> 16), one = 1;
    uint8_t *piece = calloc(1, PIECE);
    ssize_t n = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    while (n > 0) {
        n = port == RECEIVE ? write(fd, piece, PIECE) : read(fd, piece, PIECE);
        if (port == TRIP && n > 0)
            n = write(fd, piece, (size_t)n);
    }
    close(fd);
    free(piece);
    return NULL;
}

static _Noreturn void *listening(void *argument)
{
    int port = (int)(intptr_t)argument, fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    must(!bind(fd, (struct sockaddr *)&here, sizeof here) && !listen(fd, 16), "listen");
    for (;;) {
        pthread_t thread;
        int connection = accept(fd, NULL, NULL);
        must(connection >= 0, "accept");
        pthread_create(&thread, NULL, other, (void *)((intptr_t)port << 16 | connection));
        pthread_detach(thread);
    }
}

/* The interface of this name has this address from now on. */
static void set_up(const char *name, const char *address)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {.ifr_addr.sa_family = AF_INET};

    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    inet_pton(AF_INET, address, &((struct sockaddr_in *)&request.ifr_addr)->sin_addr);
    must(!ioctl(fd, SIOCSIFADDR, &request), address);
    inet_pton(AF_INET, "255.255.255.0", &((struct sockaddr_in *)&request.ifr_addr)->sin_addr);
    must(!ioctl(fd, SIOCSIFNETMASK, &request), address);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    must(!ioctl(fd, SIOCSIFFLAGS, &request), "up");
    close(fd);
}

static void load_modules(void)
{
    char name[64], path[80];
    FILE *list = fopen("/modules/list", "r");

    must(list, "/modules/list");
    while (fscanf(list, "%63s", name) == 1) {
        int fd;
        snprintf(path, sizeof path, "/modules/%s.ko", name);
        fd = open(path, O_RDONLY);
        must(!syscall(SYS_finit_module, fd, "", 0), name);
        close(fd);
    }
    fclose(list);
}

int main(int argc, char **argv)
{
    char line[128], kind[16];
    unsigned depth, ms;
    struct termios terminal;

    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && !strcmp(argv[1], "serve")) {
        pthread_t thread;
        for (intptr_t port = SEND; port <= TRIP; port++)
            pthread_create(&thread, NULL, listening, (void *)port);
        pause();
    }
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    while (access("/dev/vda", F_OK) || !if_nametoindex("eth0"))
        usleep(100000);
    set_up("eth0", getenv("address"));
    tcgetattr(0, &terminal);
    cfmakeraw(&terminal);
    tcsetattr(0, TCSANOW, &terminal);
    printf("traffic: ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        uint64_t start = now(), end;
        struct result result;
        if (sscanf(line, "%15s %u %u", kind, &depth, &ms) != 3 || !depth || depth > DEPTHS)
            continue;
        end = start + (uint64_t)ms * 1000000;
        result = !strcmp(kind, "send")      ? network(SEND, end)
                 : !strcmp(kind, "receive") ? network(RECEIVE, end)
                 : !strcmp(kind, "trip")    ? network(TRIP, end)
                                            : disk(kind, depth, end);
        printf("result %llu %llu %llu\n", (unsigned long long)result.count, (unsigned long long)result.bytes,
               (unsigned long long)(now() - start));
        fflush(stdout);
    }
    pause();
}
