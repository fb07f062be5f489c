/* Signals that would end or stop the process, and the terminal, which is then to be put right first.
 *
 * Handlers in C run nothing of Python's: an exception out of one of those may come between any two lines. */
#ifndef VMRUN_SIGNALS_H
#define VMRUN_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum signals_use {
    SIGNAL_ASKS,  /* asks for the end of the run */
    SIGNAL_ENDS,  /* ends the process, as it would uncaught, once the terminal is restored */
    SIGNAL_STOPS, /* stops the process so, and takes the terminal again once it goes on */
    SIGNAL_GOES_ON,
};

struct signals {
    uint32_t asked;    /* the signal that has asked for the end of the run, 0 where none has */
    uint32_t insisted; /* another one came while it was `impatient` */
    uint32_t impatient; /* what is at work may never come back: a second signal is answered as if it were not caught */
    int event; /* eventfd of whoever waits for one, or for the process to go on after a stop; or -1 */
};
extern struct signals signals;

/* All signals but those of a fault, which must kill. */
sigset_t signals_blockable(void);

/* False where the signal is ignored, or caught already; SIGNAL_ENDS and _STOPS also leave alone what has a handler. */
bool signals_catch(int number, enum signals_use use);
/* Back to what it was before signals_catch; nothing where that returned false. */
void signals_release(int number);
/* A file that is to be removed where a signal ends the process, NULL: none. False where the name is too long. */
bool signals_leave(const char *path);

/* Memory of a file that others may cut short. Where it is no longer there, a thread that touches it goes on with zeros in
 * all of its place, and the first of `lost` is set. False where too many are guarded, or the signal has a handler. */
bool memory_guard(void *start, uint64_t size, uint32_t *lost);
void memory_unguard(void *start);

/* There is one terminal at most: `fd`, which must be this session's own. */
bool terminal_open(int fd);
/* Make it raw, where this process is its foreground job; false where it is not. Cheap where it is raw already. */
bool terminal_take(void);
/* Restore it and forget it. */
void terminal_close(void);

#endif
