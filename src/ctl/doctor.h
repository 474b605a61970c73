/* What doctor found out, and how it says so. Private to its files. */
#ifndef SA_CTL_DOCTOR_H
#define SA_CTL_DOCTOR_H

#include "ctl/ctl.h"

typedef enum { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_ERROR } doctor_level_t;

typedef struct {
    ctl_t *ctl;
    json_t *findings;
    int warnings, errors;
} doctor_t;

/* One finding: what was looked at, what to do (NULL = nothing) and what was seen. */
void ctl_doctor_say(doctor_t *doctor, doctor_level_t level, const char *check, const char *todo,
                    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* doctor_database.c: the database that ctl's driver, params and map say; name: for findings. */
void ctl_doctor_database(doctor_t *doctor, const char *name);

#endif
