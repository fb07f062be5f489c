/* Connects a program of the guest with one of the host by a virtio socket.
 *
 *     vsock call PORT                       standard input to the host's port, its answer to standard output
 *     vsock serve PORT COMMAND ARGUMENT...  waits for a connection, which is the command's input and output */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int failed(const char *what)
{
    perror(what);
    return 1;
}

static void copy(int from, int to)
{
    char bytes[4096];
    ssize_t n;

    while ((n = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, (size_t)n) != n)
            break;
}

int main(int argc, char **words)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

    if (argc < 3)
        return 2;
    if (fd < 0)
        return failed("socket");
    address.svm_port = (unsigned)atoi(words[2]);
    if (!strcmp(words[1], "call")) {
        address.svm_cid = VMADDR_CID_HOST;
        if (connect(fd, (struct sockaddr *)&address, sizeof address))
            return failed("connect");
        copy(STDIN_FILENO, fd);
        shutdown(fd, SHUT_WR);
        copy(fd, STDOUT_FILENO);
        return 0;
    }
    address.svm_cid = VMADDR_CID_ANY;
    if (argc < 4 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1))
        return failed("listen");
    fd = accept(fd, NULL, NULL);
    if (fd < 0)
        return failed("accept");
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    execvp(words[3], words + 3);
    return failed(words[3]);
}
