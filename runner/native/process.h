/* Starts a process without holding up this one's threads: no fork, so no memory is copied. */
#ifndef VMRUN_PROCESS_H
#define VMRUN_PROCESS_H

/* Run `program` in a session of its own, which no terminal signals, with every signal blocked but those of its own
 * faults. `streams` becomes its standard streams, `channel` its descriptor 3; both are 4 or more. Returns the process
 * id, or -errno. */
int process_spawn(const char *program, char *const *arguments, char *const *environment, int streams, int channel);

#endif
