/* The first process of a guest with a socket device: it talks to the host in each way, a line each. */
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIZE = 4 << 20 };

static int host(unsigned port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

    return connect(fd, (struct sockaddr *)&address, sizeof address) ? -1 : fd;
}

/* Write all. */
static void put(int fd, const uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n <= 0) {
            printf("vsock: write %s\n", strerror(errno));
            return;
        }
        bytes += n;
        size -= (size_t)n;
    }
}

int main(void)
{
    static char list[256];
    static uint8_t bytes[65536];
    uint8_t *all = malloc(SIZE);
    uint32_t seed = 1, hash = 2166136261u;
    struct sockaddr_vm here = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = 1000};
    size_t total = 0;
    int fd, server, modules = open("/modules/list", O_RDONLY);
    ssize_t n = read(modules, list, sizeof list - 1);

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("vmrun: userspace\n");
    for (char *name = strtok(list, " "); n > 0 && name; name = strtok(NULL, " ")) {
        char path[128];
        snprintf(path, sizeof path, "/modules/%s.ko", name);
        if (syscall(SYS_finit_module, open(path, O_RDONLY), "", 0))
            printf("vsock: module %s: %s\n", name, strerror(errno));
    }
    for (uint32_t i = 0; i < SIZE; i++)
        all[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
    for (int tries = 0; (fd = host(5000)) < 0 && tries < 100; tries++)
        usleep(100000);
    put(fd, all, SIZE);
    shutdown(fd, SHUT_WR);
    while ((n = read(fd, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            hash = (hash ^ bytes[i]) * 16777619;
        total += (size_t)n;
    }
    printf("vsock: received %zu %08x\n", total, hash);
    close(fd);
    printf("vsock: refused %d\n", host(77) < 0 ? errno : 0);
    server = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 4))
        printf("vsock: listen %s\n", strerror(errno));
    fd = accept(server, NULL, NULL);
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        put(fd, bytes, (size_t)n);
    close(fd);
    printf("vsock: done\n");
    sleep(1);
    reboot(RB_AUTOBOOT);
}
