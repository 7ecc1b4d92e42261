/* turns.h - contexts that take turns, each on a stack of its own
 *
 * On x86-64 by a switch of our own: swapcontext makes two system calls each time, which were most of the
 * time of a test with hundreds of threads a block. Elsewhere, and for ThreadSanitizer, it is swapcontext.
 */
#ifndef STANDIN_TURNS_H
#define STANDIN_TURNS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)

typedef struct {
    void *sp; /* of its stack: what the function must keep, and where it goes on */
} turn;

/* Goes on with `to`; comes back when another one switches to `from`. */
__attribute__((naked, noinline)) static void turn_switch(turn *from, const turn *to)
{
    (void)from; /* rdi */
    (void)to;   /* rsi */
    __asm__(
        "pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
        "movq %rsp, (%rdi)\n\tmovq (%rsi), %rsp\n\t"
        "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret");
}

/* The first switch to t calls run, which must not return. stack and size: multiples of 16. */
static void turn_begin(turn *t, char *stack, size_t size, void (*run)(void))
{
    enum { KEPT = 6 };
    uintptr_t *sp = (uintptr_t *)(void *)(stack + size) - (KEPT + 2);
    for (int i = 0; i < KEPT + 2; i++)
        sp[i] = 0;
    sp[KEPT] = (uintptr_t)run;
    t->sp = sp;
}

#else

#include <ucontext.h>

typedef ucontext_t turn;

static void turn_switch(turn *from, const turn *to) { swapcontext(from, to); }

/* By itself: getcontext might spoil what a loop around it keeps in registers. */
static __attribute__((noinline)) void turn_begin(turn *t, char *stack, size_t size,
                                                 void (*run)(void))
{
    getcontext(t);
    t->uc_stack.ss_sp = stack;
    t->uc_stack.ss_size = size;
    t->uc_link = NULL;
    makecontext(t, run, 0);
}

#endif

#endif
