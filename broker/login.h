/* A client that has sent CONNECT and is not let in yet: its password is being verified, a slice a turn, or the steps of
 * an enhanced authentication [MQTT5-4.12] go to and fro.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CADDIS_BROKER_LOGIN_H
#define CADDIS_BROKER_LOGIN_H

#include "broker/list.h"
#include "broker/passwd.h"
#include "broker/scram.h"

struct broker;
struct conn;

struct login {
    struct link queue;          /* broker.logins: waits for its turn to compute */
    struct conn *c;
    struct passwd_try *try;     /* verification of a password under way */
    struct scram *scram;        /* enhanced authentication under way */
    uint8_t *connect;           /* the body of its CONNECT, to be carried on with; NULL: it authenticates again */
    size_t connect_len;
    uint8_t connect_head;
    uint8_t *later;             /* what came behind the CONNECT: not looked at before the verdict */
    size_t later_len;
};

/* Both free what they are given in any case and set rare.login. false: no memory. */
bool login_by_password(struct broker *b, struct conn *c, struct passwd_try *t);
bool login_by_scram(struct broker *b, struct conn *c, struct scram *s);
/* Keeps the packet and what came behind it. false: no memory. */
bool login_keep_connect(struct conn *c, uint8_t head, struct view body);
bool login_keep_later(struct conn *c, struct view bytes);
void login_free(struct conn *c);
/* Is the connection waiting for us, so that nothing more of it may be handled? */
bool login_computing(const struct conn *c);
/* Once a turn: a slice of the oldest verification. */
void login_turn(struct broker *b);

#endif
