/* SPDX-License-Identifier: Apache-2.0 */
/* Read-copy-update by quiescent states (liburcu-qsbr) for data paths: readers take no lock and write no shared
 * memory; whoever swaps a pointer waits until every reader has passed a quiet point, then frees what it was.
 *
 *   thread:  rcu_reader_begin(); loop { rcu_reader_quiet(); x = atomic_load_explicit(&current, acquire); use x; }
 *            rcu_reader_pause() before it sleeps for long, rcu_reader_resume() after; rcu_reader_end();
 *   writer:  old = atomic_exchange(&current, fresh); rcu_writer_wait(); free(old);
 *
 * ThreadSanitizer does not see into liburcu; the annotations tell it what the waiting means. */
#pragma once

#include <stdint.h>
#include <urcu/urcu-qsbr.h>

#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define RCU_TSAN_ACQUIRE() __tsan_acquire((void *)(uintptr_t)&urcu_qsbr_flavor)
#define RCU_TSAN_RELEASE() __tsan_release((void *)(uintptr_t)&urcu_qsbr_flavor)
#else
#define RCU_TSAN_ACQUIRE() ((void)0)
#define RCU_TSAN_RELEASE() ((void)0)
#endif

static inline void rcu_reader_begin(void)
{
    urcu_qsbr_register_thread();
}

static inline void rcu_reader_end(void)
{
    RCU_TSAN_RELEASE();
    urcu_qsbr_unregister_thread();
}

/* Nothing that was read before is used after. */
static inline void rcu_reader_quiet(void)
{
    RCU_TSAN_RELEASE();
    urcu_qsbr_quiescent_state();
}

static inline void rcu_reader_pause(void)
{
    RCU_TSAN_RELEASE();
    urcu_qsbr_thread_offline();
}

static inline void rcu_reader_resume(void)
{
    urcu_qsbr_thread_online();
}

/* Not by a reader that is not paused: it would wait for itself. */
static inline void rcu_writer_wait(void)
{
    urcu_qsbr_synchronize_rcu();
    RCU_TSAN_ACQUIRE();
}
