/* What the tests of the control socket and its tools share: a broker process with everything in a directory of its own,
 * clients of its control socket, clients that speak MQTT.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_TESTS_CHECK_CONTROL_H
#define CADDIS_TESTS_CHECK_CONTROL_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* ---- the broker ---- */

/* A fixture: an empty directory; afterwards nothing is left of it or of any broker. */
void place_setup(void);
void place_teardown(void);
/* A file in the directory; good for eight calls. */
const char *in_place(const char *name);
void put_file(const char *name, const char *text);
/* c.ini with c.sock, c.db, the MQTT socket m.sock and these lines at its end. */
void put_config(const char *more);

/* Runs with c.ini until place_stop(), and logs to the file `log`. */
void place_start(void);
/* The exit status; 0 also says that the sanitizers found nothing. */
int place_stop(void);
void place_kill(void);
/* Waits for the text in the log. */
void log_has(const char *text);
bool log_says(const char *text);
void log_forget(void);
/* The number that a query of a store in the directory gives, read beside the broker. */
int stored(const char *file, const char *sql);

/* ---- clients of the control socket ---- */

/* Connected to c.sock; reads wait 20 s at most. */
int control_connect(void);
void control_send(int fd, const void *bytes, size_t len);
/* Everything until the end, in `heard`. */
void control_hear_all(int fd);
/* One answer, up to its last line, in `heard`. */
void control_hear(int fd);
/* One request and its answer. */
const char *ask(const char *request);
extern char heard[1 << 20];

#define ck_heard(text) ck_assert_msg(strstr(heard, (text)) != NULL, "not \"%s\" in:\n%.3000s", (text), heard)

/* Where the JSON value at p ends; NULL: it is none. */
const char *json_end(const char *p);

/* ---- clients that speak MQTT ---- */

/* Connected and welcome. expiry_s > 0 asks for a session that lasts. will: a topic, or NULL; in 5.0 it is
 * delayed by 100 s. */
int mqtt_connect_will(const char *id, int version, unsigned expiry_s, const char *will);
int mqtt_connect(const char *id, int version, unsigned expiry_s);
/* QoS 1, acknowledged. */
void mqtt_subscribe(int fd, int version, const char *filter);
void mqtt_publish(int fd, int version, const char *topic, const char *payload, bool retain);
/* The next bytes are these. */
void mqtt_expect(int fd, const void *bytes, size_t len);
/* Nothing more comes, and the connection is closed. */
void mqtt_expect_end(int fd);

/* ---- tools ---- */

/* Runs `caddis WORDS`; words are divided by blanks. The exit code; what it said is in `heard`. */
int tool(const char *words);

#endif
