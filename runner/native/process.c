#define _GNU_SOURCE /* POSIX_SPAWN_SETSID */
#include "process.h"

#include <errno.h>
#include <spawn.h>

#include "signals.h"

enum { STREAMS = 3 };

static int run(pid_t *pid, const char *program, char *const *arguments, char *const *environment,
               const posix_spawn_file_actions_t *files)
{
    posix_spawnattr_t how;
    sigset_t blocked = signals_blockable();
    int error = posix_spawnattr_init(&how);

    if (error)
        return error;
    error = posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    if (!error)
        error = posix_spawnattr_setsigmask(&how, &blocked);
    if (!error)
        error = posix_spawn(pid, program, files, &how, arguments, environment);
    posix_spawnattr_destroy(&how);
    return error;
}

int process_spawn(const char *program, char *const *arguments, char *const *environment, int streams, int channel)
{
    posix_spawn_file_actions_t files;
    pid_t pid = 0;
    int error = posix_spawn_file_actions_init(&files);

    if (error)
        return -error;
    for (int stream = 0; stream < STREAMS && !error; stream++)
        error = posix_spawn_file_actions_adddup2(&files, streams, stream);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&files, channel, STREAMS);
    if (!error)
        error = run(&pid, program, arguments, environment, &files);
    posix_spawn_file_actions_destroy(&files);
    return error ? -error : pid;
}
