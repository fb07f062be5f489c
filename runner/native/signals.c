#define _GNU_SOURCE /* NSIG */
#include "signals.h"

#include "atomic.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

struct signals signals = {.event = -1};

static struct {
    uint32_t lock; /* held with all signals blocked, so that no handler waits for its own thread */
    uint32_t open, raw;
    int fd;
    struct termios saved;
} terminal;

static struct sigaction before[NSIG];
static uint8_t uses[NSIG];
static char leftover[PATH_MAX];

sigset_t signals_blockable(void)
{
    sigset_t set;

    sigfillset(&set);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);
    sigdelset(&set, SIGFPE);
    sigdelset(&set, SIGILL);
    sigdelset(&set, SIGTRAP);
    sigdelset(&set, SIGABRT);
    return set;
}

static sigset_t lock(void)
{
    sigset_t set = signals_blockable(), old;

    pthread_sigmask(SIG_BLOCK, &set, &old);
    while (__atomic_exchange_n(&terminal.lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
    return old;
}

static void unlock(sigset_t old)
{
    STORE(terminal.lock, 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static bool ours(void)
{
    return tcgetpgrp(terminal.fd) == getpgrp();
}

/* The lock is held. A terminal that another job owns keeps that job's mode. */
static void restore(void)
{
    if (terminal.raw && ours())
        tcsetattr(terminal.fd, TCSANOW, &terminal.saved); /* at once: do not wait for output that nobody reads */
    terminal.raw = 0;
}

bool terminal_open(int fd)
{
    sigset_t old;

    if (!isatty(fd) || tcgetpgrp(fd) < 0)
        return false;
    old = lock();
    terminal.fd = fd;
    terminal.open = 1;
    terminal.raw = 0;
    unlock(old);
    return true;
}

/* As cfmakeraw(3), but with output processing: vmrun's own messages end in a plain newline. */
static void make_raw(void)
{
    struct termios mode;

    if (!terminal.raw && tcgetattr(terminal.fd, &terminal.saved) < 0)
        return;
    mode = terminal.saved;
    cfmakeraw(&mode);
    mode.c_oflag |= OPOST | ONLCR;
    terminal.raw = tcsetattr(terminal.fd, TCSANOW, &mode) == 0;
}

bool terminal_take(void)
{
    sigset_t old;
    bool taken;

    if (!LOAD(terminal.open))
        return false;
    old = lock();
    taken = terminal.open && ours();
    if (taken && !terminal.raw)
        make_raw();
    unlock(old);
    return taken;
}

void terminal_close(void)
{
    sigset_t old = lock();

    if (terminal.open)
        restore();
    terminal.open = 0;
    unlock(old);
}

/* Die of the signal, so that the parent process sees it. */
static void end(int number)
{
    sigset_t set;

    terminal_close();
    if (leftover[0])
        unlink(leftover);
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
}

/* Wake the thread that waits. */
static void tell(void)
{
    uint64_t one = 1;
    int event = LOAD(signals.event);

    if (event >= 0 && write(event, &one, sizeof one) < 0)
        return; /* a full counter: it is woken already */
}

static void ask(int number)
{
    uint32_t none = 0;

    if (!__atomic_compare_exchange_n(&signals.asked, &none, (uint32_t)number, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE) &&
        LOAD(signals.impatient)) {
        STORE(signals.insisted, 1);
        if (before[number].sa_handler == SIG_DFL)
            end(number);
        else if (!(before[number].sa_flags & SA_SIGINFO))
            before[number].sa_handler(number);
    }
    tell();
}

/* Stop here by the signal's default effect. It has none if no shell could continue this process. */
static void stop(int number)
{
    struct sigaction mine, normal = {.sa_handler = SIG_DFL};
    sigset_t set, old = lock();

    if (terminal.open)
        restore();
    unlock(old);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigaction(number, &normal, &mine);
    pthread_sigmask(SIG_UNBLOCK, &set, &old);
    raise(number);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    sigaction(number, &mine, NULL);
    terminal_take();
}

/* The shell may have changed the mode of a terminal that was raw when SIGSTOP came. */
static void go_on(void)
{
    sigset_t old = lock();

    if (terminal.open && ours())
        make_raw();
    unlock(old);
    tell(); /* the terminal's foreground job may have changed */
}

static void caught(int number)
{
    int error = errno;

    switch (uses[number]) {
    case SIGNAL_ASKS:
        ask(number);
        break;
    case SIGNAL_ENDS:
        end(number);
        break;
    case SIGNAL_STOPS:
        stop(number);
        break;
    case SIGNAL_GOES_ON:
        go_on();
        break;
    case SIGNAL_TELLS:
        tell();
        break;
    }
    errno = error;
}

bool signals_catch(int number, enum signals_use use)
{
    struct sigaction action = {.sa_handler = caught, .sa_flags = SA_RESTART, .sa_mask = signals_blockable()}, now;

    if (sigaction(number, NULL, &now) < 0 || now.sa_handler == SIG_IGN || now.sa_handler == caught)
        return false;
    if ((use == SIGNAL_ENDS || use == SIGNAL_STOPS) && now.sa_handler != SIG_DFL)
        return false;
    uses[number] = (uint8_t)use;
    before[number] = now;
    return sigaction(number, &action, NULL) == 0;
}

void signals_release(int number)
{
    sigaction(number, &before[number], NULL);
}

static struct {
    void *start;
    uint64_t size;
    uint32_t *lost;
} guarded[64];
static struct sigaction unguarded; /* what SIGBUS did before */

static void fault(int number, siginfo_t *info, void *context)
{
    int error = errno;

    (void)context;
    for (size_t i = 0; i < sizeof guarded / sizeof *guarded; i++) {
        uint8_t *start = LOAD(guarded[i].start), *at = info->si_addr;
        if (!start || info->si_code <= 0 || at < start || at >= start + guarded[i].size)
            continue;
        STORE(*guarded[i].lost, 1);
        if (mmap(start, guarded[i].size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
            start) {
            errno = error;
            return;
        }
    }
    terminal_close();
    sigaction(number, &unguarded, NULL);
    raise(number); /* delivered once this returns: it is blocked here */
}

bool memory_guard(void *start, uint64_t size, uint32_t *lost)
{
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO}, now;

    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, NULL, &now) < 0)
        return false;
    if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != fault) {
        unguarded = now;
        if (sigaction(SIGBUS, &action, NULL) < 0)
            return false;
    }
    for (size_t i = 0; i < sizeof guarded / sizeof *guarded; i++) {
        void *none = NULL;
        if (LOAD(guarded[i].start))
            continue;
        guarded[i].size = size;
        guarded[i].lost = lost;
        if (__atomic_compare_exchange_n(&guarded[i].start, &none, start, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return true;
    }
    return false;
}

void memory_unguard(void *start)
{
    for (size_t i = 0; i < sizeof guarded / sizeof *guarded; i++)
        if (guarded[i].start == start)
            STORE(guarded[i].start, NULL);
}

bool signals_leave(const char *path)
{
    size_t length = path ? strlen(path) : 0;

    if (length >= sizeof leftover)
        return false;
    leftover[0] = 0; /* a signal meanwhile finds no name or a complete one */
    if (length) {
        memcpy(leftover + 1, path + 1, length);
        STORE(leftover[0], path[0]);
    }
    return true;
}
