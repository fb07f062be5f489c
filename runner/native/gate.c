#define _GNU_SOURCE /* syscall */
#include "gate.h"

#include "atomic.h"
#include "futex.h"

void gate_close(struct gate *gate)
{
    STORE(gate->turn, (gate->turn + 1) | 1);
}

void gate_open(struct gate *gate)
{
    STORE(gate->turn, (gate->turn + 1) & ~1u);
    futex_wake(&gate->turn, INT_MAX);
}

bool gate_is_closed(const struct gate *gate)
{
    return gate && LOAD(gate->turn) & 1;
}

static void say_where(uint32_t *standing, uint32_t turn)
{
    STORE(*standing, turn);
    futex_wake(standing, INT_MAX);
}

void gate_stand(struct gate *gate, uint32_t *standing)
{
    uint32_t turn = gate ? LOAD(gate->turn) : 0;

    if (!(turn & 1))
        return;
    say_where(standing, turn);
    while (LOAD(gate->turn) == turn)
        futex_wait(&gate->turn, turn);
    STORE(*standing, 0);
}

void gate_hold(uint32_t *held, uint32_t *standing)
{
    uint32_t why = LOAD(*held);

    if (!why)
        return;
    say_where(standing, GATE_HELD);
    for (; why; why = LOAD(*held))
        futex_wait(held, why);
    STORE(*standing, 0);
}

void gate_release(uint32_t *held)
{
    STORE(*held, 0);
    futex_wake(held, INT_MAX);
}

void gate_leave(uint32_t *standing)
{
    say_where(standing, GATE_LEFT);
}

static bool is_there(const struct gate *gate, uint32_t standing)
{
    return standing == LOAD(gate->turn) || standing == GATE_LEFT || standing == GATE_HELD;
}

bool gate_stands(const struct gate *gate, uint32_t *standing)
{
    uint32_t turn = LOAD(*standing);

    if (!is_there(gate, turn))
        futex_wait(standing, turn);
    return is_there(gate, LOAD(*standing));
}
