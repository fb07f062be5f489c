/* Signals that would end or stop the process, and the terminal, which must be restored first.
 *
 * The handlers are in C: an exception from a Python handler may come between any two lines. */
#ifndef VMRUN_SIGNALS_H
#define VMRUN_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum signals_use {
    SIGNAL_ASKS,  /* requests the end of the run */
    SIGNAL_ENDS,  /* restores the terminal and ends the process as if uncaught */
    SIGNAL_STOPS, /* the same for a stop; takes the terminal again when the process continues */
    SIGNAL_GOES_ON,
    SIGNAL_TELLS, /* wakes whoever waits */
};

struct signals {
    uint32_t asked;    /* the signal that requested the end of the run, 0: none */
    uint32_t insisted; /* another one came while it was `impatient` */
    uint32_t impatient; /* the current call may never return: a second signal has its default effect */
    int event; /* eventfd written at a signal, and when the process continues after a stop; or -1 */
};
extern struct signals signals;

/* All signals except those of a fault, which must kill. */
sigset_t signals_blockable(void);

/* False where the signal is ignored, or caught already; SIGNAL_ENDS and _STOPS also leave alone what has a handler. */
bool signals_catch(int number, enum signals_use use);
/* Restore the action from before signals_catch; does nothing if that returned false. */
void signals_release(int number);
/* A file to remove if a signal ends the process, NULL: none. False if the name is too long. */
bool signals_leave(const char *path);

/* Guard the mapping of a file that others may truncate. If a thread then touches a missing page, zeros replace the
 * whole mapping and `*lost` is set. False if too many are guarded, or if the signal has a handler. */
bool memory_guard(void *start, uint64_t size, uint32_t *lost);
void memory_unguard(void *start);

/* At most one terminal: `fd`, which must be this session's own. */
bool terminal_open(int fd);
/* Make it raw if this process is its foreground job, else return false. Cheap if it is raw already. */
bool terminal_take(void);
/* Restore it and drop it. */
void terminal_close(void);

#endif
