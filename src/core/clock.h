/* Two clocks: apr_time_now() says what time it is, this one how long something takes. */
#ifndef SA_CORE_CLOCK_H
#define SA_CORE_CLOCK_H

#include <apr_time.h>

/* Microseconds since some start of this machine, by a clock that nobody sets: a deadline made of it
 * is neither passed at once nor put off by an hour when the time of day is corrected. */
apr_time_t sa_steady_time(void);

#endif
