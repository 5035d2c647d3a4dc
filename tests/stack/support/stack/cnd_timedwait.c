/* C11's cnd_timedwait on the clock that libfaketime shows: the kernel's would
 * wait for a time that comes an hour later, or came an hour ago. librdkafka
 * waits by it; libfaketime knows only pthread_cond_timedwait. In glibc the two
 * have the same types. */
#include <errno.h>
#include <pthread.h>
#include <threads.h>

int cnd_timedwait(cnd_t *restrict cnd, mtx_t *restrict mtx, const struct timespec *restrict until)
{
    switch (pthread_cond_timedwait((pthread_cond_t *)cnd, (pthread_mutex_t *)mtx, until)) {
    case 0: return thrd_success;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
    }
}
