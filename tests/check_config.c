/* The configuration: messages with their lines, defaults, the sample file, includes, what a reload can't change.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/config.h"
#include "broker/config_table.h"
#include "broker/control.h"
#include "broker/tls.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

struct said {
    char text[8192];    /* all lines, each with a line feed */
    unsigned lines;
};

static void hear(void *arg, const char *line)
{
    struct said *s = arg;
    size_t have = strlen(s->text);

    snprintf(s->text + have, sizeof s->text - have, "%s\n", line);
    s->lines++;
}

static struct config *load(const char *text, struct said *s)
{
    *s = (struct said){ .lines = 0 };
    return config_load_text("f", text, strlen(text), hear, s);
}

static struct config *load_good(const char *text)
{
    struct said s;
    struct config *c = load(text, &s);

    ck_assert_msg(c != NULL, "refused: %s", s.text);
    ck_assert_msg(s.lines == 0, "said: %s", s.text);
    return c;
}

/* ---- bad lines: one message each, this one ---- */

#define LONG50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define LONG200 LONG50 LONG50 LONG50 LONG50

#define TLS "[listener a]\ncertfile = /c\nkeyfile = /k\n"

static const struct { const char *text, *want; } bad[] = {
    { "[brokr]\nuser = x\n", "f:1: unknown section \"brokr\"; did you mean [broker]?" },
    { "[nonsense]\n",
      "f:1: unknown section \"nonsense\"; there are broker, log, persistence, limits, auth and listener NAME" },
    { "\n[broker\nuser = x\n", "f:2: a section is written [name]: the ] is missing" },
    { "[broker] x\n", "f:1: nothing may follow the ] of a section" },
    { "[broker two]\n", "f:1: [broker] takes no name; write [broker]" },
    { "[listener]\nport = 1\n", "f:1: a listener needs a name: [listener NAME]" },
    { "[listener a]\nport = 1\n[listener a]\nport = 2\n",
      "f:3: listener \"a\" is on line 1 already; give this one another name" },
    { "; hi\nuser = x\n", "f:2: \"user\" stands before any section; write [broker] (or another one) above it" },
    { "[broker]\nusr = x\n", "f:2: unknown key \"usr\" in [broker]; did you mean user?" },
    { "[broker]\nbanana = x\n", "f:2: unknown key \"banana\" in [broker]" },
    { "[broker]\nmax_qos = 1\n", "f:2: max_qos belongs into [listener NAME], not into [broker]" },
    { "[broker]\n\n\n  user\n", "f:4: expected 'key = value' or '[section]', unlike mosquitto.conf" },
    { "[broker]\nuser =\n", "f:2: user: has no value; leave the line out to get the default" },
    { "[broker]\nuser = \"x\"\n", "f:2: user: \"\\\"x\\\"\": values are written without quotes" },
    { "[broker]\nuser = \xE9t\n", "f:2: user: \"\\xe9t\" is not UTF-8; save the file as UTF-8" },
    { "[broker]\nuser = a\nuser = b\n", "f:3: user is on line 2 already" },
    { "[broker]\nretain_available = maybe\n", "f:2: retain_available: \"maybe\" is neither true nor false" },
    { "[broker]\nsys_interval = 10x\n",
      "f:2: sys_interval: \"10x\" is not a duration: write a number with ms, s, m, h, d or w, as in 500ms" },
    { "[broker]\nsys_interval = -1\n",
      "f:2: sys_interval: \"-1\" is not a duration: write a number with ms, s, m, h, d or w, as in 500ms" },
    { "[broker]\nsys_interval = never\n",
      "f:2: sys_interval: \"never\" is not a duration: write a number with ms, s, m, h, d or w, as in 500ms" },
    { "[broker]\nretain_expiry_interval = 500ms\n", "f:2: retain_expiry_interval: \"500ms\" is not a duration in whole "
                                                    "seconds: write a number with s, m, h, d or w, as in 2h" },
    { "[persistence]\ngather = 61s\n", "f:2: gather: \"61s\" is out of range: 0 to 1m" },
    { "[persistence]\nmemory = 1\n", "f:2: memory: \"1\" is out of range: 64K to 1024G" },
    { "[persistence]\nmax_size = 99999999999999999999\n", "f:2: max_size: \"99999999999999999999\" is too large" },
    { "[persistence]\nmax_size = 17179869184G\n", "f:2: max_size: \"17179869184G\" is too large" },
    { "[persistence]\nmax_size = 1T\n",
      "f:2: max_size: \"1T\" is not a size: write bytes, or a number with K, M or G, as in 64K" },
    { "[persistence]\ndurability = pwoer\n",
      "f:2: durability: \"pwoer\" is not one of power, crash; did you mean power?" },
    { "[limits]\nmax_inflight_messages = 65536\n", "f:2: max_inflight_messages: \"65536\" is out of range: 0 to 65535" },
    { "[limits]\nmax_packet_size = 19\n",
      "f:2: max_packet_size: \"19\" is out of range: 20 to 268435460, or 0 for the most" },
    { "[limits]\npersistent_client_expiration = 0\n",
      "f:2: persistent_client_expiration: \"0\" is out of range: 1s to 4294967295s, or never" },
    { "[log]\ndest = fiel /x\n",
      "f:2: dest: \"fiel /x\" is not one of stderr, stdout, syslog, file PATH, topic, none" },
    { "[log]\ndest = stder\n", "f:2: dest: \"stder\" is not one of stderr, stdout, syslog, file PATH, topic, none; did "
                               "you mean stderr?" },
    { "[log]\ndest = file /a\ndest = file /b\n", "f:3: dest: there is a log file already, \"/a\"; one is all there can be" },
    { "[log]\ndest = none\ndest = stderr\n", "f:2: dest: none can't stand together with other destinations" },
    { "[listener a]\naccept_protocol_versions = 4, 6\n",
      "f:2: accept_protocol_versions: \"6\" is not a version: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0" },
    { "[listener a]\naccept_protocol_versions = ,\n",
      "f:2: accept_protocol_versions: \",\" is not a version: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0" },
    { "[listener a]\nmount_point = a/+/\n", "f:2: mount_point: \"a/+/\": + and # can't stand in a topic" },
    { "[listener a]\naddress = /run/x\nport = 1883\n",
      "f:3: port: a Unix socket (address = \"/run/x\") has none; leave port out" },
    { "[listener a]\naddress = /run/x\nsocket_domain = ipv4\n",
      "f:3: socket_domain: a Unix socket has none; leave it out" },
    { "[listener a]\naddress = /" LONG200 "\n", "f:2: address: the path of a Unix socket can have 107 bytes, this one has "
                                                "201" },
    { "[listener a]\ncertfile = /c\n", "f:2: certfile: needs a keyfile" },
    { "[listener a]\nkeyfile = /k\n",
      "f:2: keyfile: this listener has no TLS; set certfile and keyfile, or psk_hint" },
    { "[listener a]\nrequire_certificate = yes\n",
      "f:2: require_certificate: this listener has no TLS; set certfile and keyfile, or psk_hint" },
    { "[listener a]\ntls_version = tlsv1.2\n",
      "f:2: tls_version: this listener has no TLS; set certfile and keyfile, or psk_hint" },
    { TLS "require_certificate = yes\n", "f:4: require_certificate: needs a cafile or capath" },
    { TLS "crlfile = /r\n", "f:4: crlfile: needs a cafile or capath" },
    { TLS "use_identity_as_username = yes\n", "f:4: use_identity_as_username: needs require_certificate = true" },
    { TLS "use_subject_as_username = yes\n", "f:4: use_subject_as_username: needs require_certificate = true" },
    { TLS "cafile = /a\nrequire_certificate = 1\nuse_identity_as_username = 1\nuse_subject_as_username = 1\n",
      "f:7: use_subject_as_username: can't stand together with use_identity_as_username" },
    { TLS "psk_hint = x\n", "f:4: psk_hint: a listener has either keys (psk_hint) or certificates (certfile)" },
    { TLS "tls_version = tlsv1.1\n",
      "f:4: tls_version: \"tlsv1.1\" is not one of tlsv1.2, tlsv1.3; did you mean tlsv1.2?" },
    { TLS "ciphers = HIGH\n", "f:4: ciphers: \"HIGH\" is a rule for OpenSSL; name single ciphers, or leave the line out "
                              "for sound ones" },
    { TLS "ciphers_tls1.3 = TLS_AES_128_GCM_SHA265\n",
      "f:4: ciphers_tls1.3: \"TLS_AES_128_GCM_SHA265\" is not a cipher of this library; did you mean "
      "TLS13-AES128-GCM-SHA256?" },
    { TLS "tls_version = tlsv1.3\nciphers = ECDHE-RSA-AES128-GCM-SHA256\n",
      "f:5: ciphers: are for TLS 1.2, which tls_version excludes; see ciphers_tls1.3" },
    { "[listener a]\npsk_hint = x\n", "f:2: psk_hint: needs a psk_file, here or in [auth]" },
    { "[auth]\npsk_file = /p\n[listener a]\npsk_hint = x\ncafile = /a\n",
      "f:5: cafile: a listener with psk_hint knows no certificates" },
    { "[listener a]\nauto_id_prefix = " LONG200 LONG200 "x\n", "f:2: auto_id_prefix: longer than 400 bytes" },
    { "[listener a]\n[listener b]\n", "f:2: listener \"b\" wants the same address and port as listener \"a\" (f:1)" },
    { "[broker]\ninclude_dir = /nowhere/at/all\n", "f:2: include_dir: \"/nowhere/at/all\": No such file or directory" },
    { "[broker]\n" LONG200 " = 1\n", "f:2: expected 'key = value' or '[section]', unlike mosquitto.conf" },
    { "[listener a]\naddress = ::1 # comment\n", "f:2: address: \"::1 # comment\": an address has no blank in it; "
                                                 "a comment at the end of a line starts with ;" },
    { "[listener a]\n[listener b]\naddress = ::1\n", "f:2: listener \"b\" wants the same address and port as "
                                                     "listener \"a\" (f:1)" },
    { "\xFF\xFE[\0b\0", "f: is UTF-16; save it as UTF-8" },
    { "[broker]\r\n\tuser = x\r\nbad\r\n", "f:3: expected 'key = value' or '[section]', unlike mosquitto.conf" },
};

/* Without TLS in the build the rows about it are different ones. */
static bool needs_tls(const char *text)
{
    return !tls_built && (strstr(text, "file = ") != NULL || strstr(text, "psk") != NULL || strstr(text, "tls") != NULL ||
                          strstr(text, "require_certificate") != NULL);
}

START_TEST(bad_rows)
{
    struct said s;
    struct config *c = load(bad[_i].text, &s);

    if (needs_tls(bad[_i].text)) {
        ck_assert_ptr_null(c);
        return;
    }
    ck_assert_msg(c == NULL, "accepted: %s", bad[_i].text);
    ck_assert_str_eq(strtok(s.text, "\n"), bad[_i].want);
    ck_assert_uint_eq(s.lines, 1);
}
END_TEST

START_TEST(keys_of_tls)
{
    struct said s;
    struct config *c = load("[auth]\npsk_file = /p\n" TLS "[listener b]\npsk_hint = x\nport = 2\n", &s);

    if (tls_built) {
        ck_assert_msg(c != NULL, "%s", s.text);
        ck_assert_str_eq(c->listeners[0].certfile, "/c");
        ck_assert_int_eq(c->listeners[0].tls_version, 0x0303);
        ck_assert_str_eq(c->listeners[1].auth.psk_file, "/p");
    } else {
        ck_assert_ptr_null(c);
        ck_assert_str_eq(s.text, "f:4: certfile: this caddis was built without TLS\n"
                                 "f:5: keyfile: this caddis was built without TLS\n"
                                 "f:7: psk_hint: this caddis was built without TLS\n");
    }
    config_free(c);
}
END_TEST

START_TEST(keys_of_the_control_socket)
{
    struct said s;
    struct config *c = load("[broker]\nenable_control = true\n", &s);

    ck_assert_int_eq(c != NULL, control_built);
    ck_assert_str_eq(s.text, control_built ? "" :
                     "f:2: enable_control: this caddis was built without the control socket\n");
    config_free(c);
    config_free(load_good("[broker]\nenable_control = false\ncontrol_socket = /s\n"));
}
END_TEST

START_TEST(all_errors_in_one_run)
{
    struct said s;

    ck_assert_ptr_null(load("[broker]\nusr = 1\nsys_interval = x\n[limit]\n[listener a]\nmax_qos = 3\n", &s));
    ck_assert_uint_eq(s.lines, 4);
    ck_assert_ptr_nonnull(strstr(s.text, "f:2: "));
    ck_assert_ptr_nonnull(strstr(s.text, "f:3: "));
    ck_assert_ptr_nonnull(strstr(s.text, "f:4: "));
    ck_assert_ptr_nonnull(strstr(s.text, "f:6: "));
}
END_TEST

START_TEST(zero_byte)
{
    static const char text[] = "[broker]\nuser = a\0b\n";
    struct said s = { .lines = 0 };

    ck_assert_ptr_null(config_load_text("f", text, sizeof text - 1, hear, &s));
    ck_assert_ptr_nonnull(strstr(s.text, "zero byte"));
}
END_TEST

START_TEST(unreadable_files)
{
    struct said s = { .lines = 0 };

    ck_assert_ptr_null(config_load("/", hear, &s));
    ck_assert_str_eq(s.text, "/: is a directory; name the file in it\n");
    s = (struct said){ .lines = 0 };
    ck_assert_ptr_null(config_load("/nowhere/x.ini", hear, &s));
    ck_assert_str_eq(s.text, "/nowhere/x.ini: No such file or directory\n");
}
END_TEST

/* ---- good values ---- */

START_TEST(defaults)
{
    struct said s = { .lines = 0 };
    struct config *c = config_load(NULL, hear, &s);

    ck_assert_uint_eq(s.lines, 0);
    ck_assert_ptr_null(c->path);
    ck_assert_ptr_null(c->user);
    ck_assert_uint_eq(c->sys_interval_ms, 10000);
    ck_assert(c->retain_available && !c->allow_duplicate_messages && c->enable_control);
    ck_assert_str_eq(c->control_socket, RUNSTATEDIR "/caddis.sock");
    ck_assert_uint_eq(c->log_dests, DEST_STDERR);
    ck_assert_int_eq((int)c->log_level, LEVEL_INFO);
    ck_assert_int_eq(c->log_facility, LOG_DAEMON);
    ck_assert(c->persistence && c->durability == DURABILITY_POWER);
    ck_assert_str_eq(c->store_path, LOCALSTATEDIR "/lib/caddis/caddis.db");
    ck_assert_uint_eq(c->gather_ms, 100);
    ck_assert_uint_eq(c->commit_interval_ms, 20);
    ck_assert_uint_eq(c->store_cache_bytes, 1048576);
    ck_assert_uint_eq(c->retained_memory_bytes, 16777216);
    ck_assert_uint_eq(c->max_inflight_messages, 20);
    ck_assert_uint_eq(c->max_queued_messages, 1000);
    ck_assert_uint_eq(c->max_packet_bytes, 2000000);
    ck_assert_uint_eq(c->max_keepalive_s, 65535);
    ck_assert_uint_eq(c->max_topic_levels, 200);
    ck_assert_int_eq(c->session_expiry_s, -1);
    ck_assert_uint_eq(c->write_buffer_bytes, 262144);
    ck_assert_uint_eq(c->memory_limit_bytes, 0);
    ck_assert_uint_eq(c->connect_timeout_ms, 10000);
    ck_assert_int_eq(c->queue_full, QUEUE_FULL_DROP_NEWEST);
    ck_assert_uint_eq(c->listener_count, 1);
    ck_assert_str_eq(c->listeners[0].name, "default");
    ck_assert_str_eq(c->listeners[0].address, "localhost");
    ck_assert_uint_eq(c->listeners[0].port, 1883);
    ck_assert_uint_eq(c->listeners[0].versions, 1u << 3 | 1u << 4 | 1u << 5);
    ck_assert_uint_eq(c->listeners[0].max_qos, 2);
    ck_assert_uint_eq(c->listeners[0].max_topic_alias, 10);
    ck_assert(c->listeners[0].auth.allow_anonymous && !c->listeners[0].auth.allow_anonymous_set);
    ck_assert(c->listeners[0].auth.allow_zero_length_clientid);
    ck_assert_str_eq(c->listeners[0].auth.auto_id_prefix, "auto-");
    config_free(c);
}
END_TEST

static const struct { const char *text; uint64_t want_ms; } durations[] = {
    { "0", 0 }, { "7", 7000 }, { "7s", 7000 }, { "7 s", 7000 }, { "7ms", 7 }, { "2m", 120000 }, { "2H", 7200000 },
    { "3d", 259200000 }, { "1w", 604800000 },
};

START_TEST(duration_rows)
{
    char text[64];
    struct config *c;

    snprintf(text, sizeof text, "[broker]\nsys_interval=%s ; c\n", durations[_i].text);
    c = load_good(text);
    ck_assert_uint_eq(c->sys_interval_ms, durations[_i].want_ms);
    config_free(c);
}
END_TEST

START_TEST(zero_and_never)
{
    struct config *c = load_good("[limits]\nmax_inflight_messages = 0\nmax_packet_size = 0\nmax_keepalive = 0\n"
                                 "persistent_client_expiration = Never\nmax_queued_messages = 0\n");

    ck_assert_uint_eq(c->max_inflight_messages, 65535);
    ck_assert_uint_eq(c->max_packet_bytes, 268435460);
    ck_assert_uint_eq(c->max_keepalive_s, 65535);
    ck_assert_int_eq(c->session_expiry_s, -1);
    ck_assert_uint_eq(c->max_queued_messages, 0);
    config_free(c);
    c = load_good("[limits]\npersistent_client_expiration = 2d\n");
    ck_assert_int_eq(c->session_expiry_s, 172800);
    config_free(c);
}
END_TEST

/* A BOM, CR LF, comments of all kinds, tabs, capitals, colons; what is no comment stays. */
START_TEST(forms)
{
    struct config *c = load_good("\xEF\xBB\xBF; c\r\n# c\r\n[Broker]\t; c\r\n\r\nUSER=a;b#c ; c\r\npid_file\t=\t/x # y\r\n"
                                 "[ listener  one two ]\r\nport: 1\r\n");

    ck_assert_str_eq(c->user, "a;b#c");
    ck_assert_str_eq(c->pid_file, "/x # y");
    ck_assert_str_eq(c->listeners[0].name, "one two");
    ck_assert_uint_eq(c->listeners[0].port, 1);
    config_free(c);
}
END_TEST

START_TEST(values_go_on_in_indented_lines)
{
    struct config *c = load_good("[auth]\nclientid_prefixes = a, b\n  c ; comment\n  ; comment\n\n\td,e\n"
                                 "auto_id_prefix = x\n");
    static const char *const want[] = { "a", "b", "c", "d", "e" };

    for (unsigned i = 0; i < 5; i++)
        ck_assert_str_eq(c->auth.clientid_prefixes[i], want[i]);
    ck_assert_ptr_null(c->auth.clientid_prefixes[5]);
    ck_assert_str_eq(c->auth.auto_id_prefix, "x");
    config_free(c);
}
END_TEST

/* Keys and sections are themselves, wherever they begin. */
START_TEST(keys_may_be_indented)
{
    struct config *c = load_good("  [broker]\n\tuser = x\n\tpid_file=/y\n  [listener a]\n    address = ::1\n"
                                 "    max_qos= 1\n  [listener b]\n    port = 2\n  [auth]\n    clientid_prefixes = [a]b,\n"
                                 "      c\n    auto_id_prefix = z\n");

    ck_assert_str_eq(c->user, "x");
    ck_assert_str_eq(c->pid_file, "/y");
    ck_assert_uint_eq(c->listener_count, 2);
    ck_assert_str_eq(c->listeners[0].address, "::1");
    ck_assert_uint_eq(c->listeners[0].max_qos, 1);
    ck_assert_uint_eq(c->listeners[1].port, 2);
    ck_assert_str_eq(c->auth.clientid_prefixes[0], "[a]b");
    ck_assert_str_eq(c->auth.clientid_prefixes[1], "c");
    ck_assert_str_eq(c->auth.auto_id_prefix, "z");
    config_free(c);
}
END_TEST

/* Longer than inih's buffer, with everything in it that inih would trim, cut or take for a comment. */
START_TEST(long_lines_are_whole)
{
    char value[2000], text[4100];
    struct config *c;
    size_t n = 0;

    value[n++] = '/';
    while (n < 1500)
        n += (size_t)sprintf(value + n, "%zu  a;b #c =[d]: ", n);
    value[n - 1] = '.';
    for (unsigned shift = 0; shift < 40; shift++) {
        snprintf(text, sizeof text, "[broker]\n; %s\npid_file = /%s ; comment\nuser = u\n", value + shift, value + shift);
        c = load_good(text);
        ck_assert_str_eq(c->pid_file + 1, value + shift);
        ck_assert_str_eq(c->user, "u");
        config_free(c);
    }
}
END_TEST

START_TEST(log_destinations_add_up)
{
    struct config *c = load_good("[log]\ndest = syslog\ndest = topic\ndest = file  /a b\nlevel = DEBUG\nfacility = local3\n");

    ck_assert_uint_eq(c->log_dests, DEST_SYSLOG | DEST_TOPIC | DEST_FILE);
    ck_assert_str_eq(c->log_file, "/a b");
    ck_assert_int_eq((int)c->log_level, LEVEL_DEBUG);
    ck_assert_int_eq(c->log_facility, LOG_LOCAL3);
    config_free(c);
    c = load_good("[log]\ndest = none\n");
    ck_assert_uint_eq(c->log_dests, 0);
    config_free(c);
}
END_TEST

START_TEST(anonymous_is_closed_once_a_listener_is_configured)
{
    static const struct { const char *text; bool want[2]; } rows[] = {
        { "[broker]\nuser = x\n", { true, true } },
        { "[listener a]\nport = 1\n[listener b]\nport = 2\n", { false, false } },
        { "[listener a]\nport = 1\nallow_anonymous = true\n[listener b]\nport = 2\n", { true, false } },
        { "[auth]\nallow_anonymous = true\n[listener a]\nport = 1\n[listener b]\nport = 2\nallow_anonymous = no\n",
          { true, false } },
        { "[auth]\nallow_anonymous = false\n", { false, false } },
    };

    for (unsigned r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct config *c = load_good(rows[r].text);
        for (unsigned i = 0; i < c->listener_count; i++)
            ck_assert_msg(c->listeners[i].auth.allow_anonymous == rows[r].want[i], "row %u, listener %u", r, i);
        config_free(c);
    }
}
END_TEST

START_TEST(listeners_inherit_auth)
{
    struct config *c = load_good("[listener a]\nport = 1\nauto_id_prefix = mine-\n[listener b]\nport = 2\n"
                                 "[auth]\nauto_id_prefix = all-\nclientid_prefixes = s-\n"
                                 "allow_zero_length_clientid = no\n");

    ck_assert_str_eq(c->listeners[0].auth.auto_id_prefix, "mine-");
    ck_assert_str_eq(c->listeners[1].auth.auto_id_prefix, "all-");
    ck_assert_str_eq(c->listeners[0].auth.clientid_prefixes[0], "s-");
    ck_assert(!c->listeners[1].auth.allow_zero_length_clientid);
    config_free(c);
}
END_TEST

START_TEST(unix_socket_has_no_port)
{
    struct config *c = load_good("[listener a]\naddress = /run/x.sock\n[listener b]\naddress = /run/y.sock\nport = 0\n");

    ck_assert_uint_eq(c->listeners[0].port, 0);
    ck_assert_uint_eq(c->listeners[1].port, 0);
    config_free(c);
}
END_TEST

/* ---- includes ---- */

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(includes)
{
    char dir[] = "/tmp/check_config.XXXXXX", text[256], want[256], path[512];
    static const char *const names[] = { "10-a.ini", "20-b.ini", "not-this.txt", ".hidden.ini" };
    struct said s;
    struct config *c;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    put_file(dir, names[0], "[listener a]\nport = 2000\n[broker]\nuser = ten\n");
    put_file(dir, names[1], "[listener b]\nport = 3000\n[broker]\nuser = twenty\n");
    put_file(dir, names[2], "rubbish\n");
    put_file(dir, names[3], "rubbish\n");
    snprintf(text, sizeof text, "[broker]\nuser = main\ninclude_dir = %s\n[listener a]\nport = 1000\n", dir);
    c = load_good(text);
    ck_assert_str_eq(c->user, "twenty");            /* the last one wins */
    ck_assert_uint_eq(c->listener_count, 2);
    ck_assert_uint_eq(c->listeners[0].port, 2000);  /* an included file goes on with a listener */
    ck_assert_uint_eq(c->listeners[1].port, 3000);
    config_free(c);

    put_file(dir, names[1], "[broker]\ninclude_dir = /tmp\nusr = x\n");
    ck_assert_ptr_null(load(text, &s));
    ck_assert_uint_eq(s.lines, 2);
    snprintf(want, sizeof want, "%s/20-b.ini:2: include_dir is for the main file", dir);
    ck_assert_msg(strncmp(s.text, want, strlen(want)) == 0, "%s", s.text);
    snprintf(want, sizeof want, "%s/20-b.ini:3: unknown key \"usr\"", dir);
    ck_assert_ptr_nonnull(strstr(s.text, want));
    for (unsigned i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}
END_TEST

/* ---- the table ---- */

/* Replaces every `what` in text (in place, `with` is no longer than what). */
static void replace(char *text, const char *what, const char *with)
{
    size_t from = strlen(what), to = strlen(with);

    for (char *p = text; (p = strstr(p, what)) != NULL; p += to) {
        memmove(p + to, p + from, strlen(p + from) + 1);
        memcpy(p, with, to);
    }
}

static char *sample(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    ck_assert_ptr_nonnull(f);
    config_write_sample(f);
    fclose(f);
    return text;
}

START_TEST(sample_is_what_is_shipped)
{
    const char *srcdir = getenv("srcdir");
    char path[1024], *text = sample(), *shipped = calloc(1, 65536);
    FILE *f;

    snprintf(path, sizeof path, "%s/etc/caddis.ini", srcdir != NULL ? srcdir : ".");
    f = fopen(path, "r");
    ck_assert_msg(f != NULL, "can't open %s", path);
    ck_assert_uint_gt(fread(shipped, 1, 65535, f), 0);
    fclose(f);
    if (strlen(LOCALSTATEDIR) >= 4 && strlen(RUNSTATEDIR) >= 4 && strlen(SYSCONFDIR) >= 4) {
        replace(text, SYSCONFDIR "/caddis/", "/etc/caddis/");
        replace(text, RUNSTATEDIR "/caddis.", "/run/caddis.");
        replace(text, LOCALSTATEDIR "/lib/caddis", "/var/lib/caddis");
    }
    ck_assert_msg(strcmp(text, shipped) == 0, "etc/caddis.ini is not what `caddis check --sample` prints");
    free(text);
    free(shipped);
}
END_TEST

static void fixed_key(void *arg, const char *key)
{
    hear(arg, key);
}

static const char *const tls_lines[] = { "\ncertfile", "\nkeyfile", "\ncafile", "\ncapath", "\ncrlfile", "\ntls_version",
                                         "\nciphers", "\ndhparamfile" };

/* With every key uncommented the sample says nothing new, except for the examples. */
START_TEST(sample_loads)
{
    char *text = sample(), *all = malloc(strlen(text) + 1), *out = all;
    struct said s = { .lines = 0 };
    struct config *c = load_good(text), *d = config_load(NULL, hear, &s), *e;

    config_keep_fixed(c, d, fixed_key, &s);
    ck_assert_msg(s.lines == 0, "differs: %s", s.text);
    for (const char *p = text; *p != '\0'; p++)
        if (!(*p == ';' && p[1] != ' ' && (p == text || p[-1] == '\n')))
            *out++ = *p;
    *out = '\0';
    replace(all, "include_dir = /etc/caddis/conf.d\n", "\n");
    replace(all, "psk_hint = sensors\n", "\n");      /* not together with certfile */
    replace(all, "\nprotocol = mqtt\n", "\nprotocol = websockets\n");       /* websockets_origin asks for it */
    for (unsigned i = 0; !tls_built && i < sizeof tls_lines / sizeof tls_lines[0]; i++)
        replace(all, tls_lines[i], "#");
    if (!control_built)
        replace(all, "enable_control = true\n", "\n");
    e = load_good(all);
    ck_assert_str_eq(e->listeners[0].name, "NAME");
    ck_assert_str_eq(e->user, "caddis");
    ck_assert_uint_eq(e->max_queued_messages, d->max_queued_messages);
    config_free(c);
    config_free(d);
    config_free(e);
    free(text);
    free(all);
}
END_TEST

START_TEST(table_is_sound)
{
    for (unsigned i = 0; i < config_directive_count; i++) {
        const struct directive *d = &config_directives[i];
        ck_assert_msg(strlen(d->key) < 50, "%s: inih cuts names at 50", d->key);
        ck_assert_msg(d->doc[0] != '\0' && d->preset != NULL, "%s", d->key);
        ck_assert_msg((d->type == VALUE_CHOICE) == (d->choices != NULL), "%s", d->key);
        for (unsigned j = 0; j < i; j++)
            ck_assert_msg(config_directives[j].section != d->section || strcmp(config_directives[j].key, d->key) != 0,
                          "%s twice", d->key);
    }
}
END_TEST

/* ---- reload ---- */

START_TEST(reload_names_what_cannot_change)
{
    struct config *was = load_good("[broker]\nuser = a\nsys_interval = 1\n[persistence]\npath = /x\n[listener a]\nport = 1\n"
                                   "max_qos = 1\n[listener gone]\nport = 2\n");
    struct config *now = load_good("[broker]\nuser = b\nsys_interval = 2\n[persistence]\npath = /x\n[listener new]\nport = 2\n"
                                   "[listener a]\nport = 9\nmax_qos = 2\n[log]\nlevel = debug\n");
    struct said s = { .lines = 0 };

    config_keep_fixed(was, now, fixed_key, &s);
    ck_assert_str_eq(s.text, "[broker] user\n[listener new] (new)\n[listener a] port\n[listener gone] (gone)\n");
    ck_assert_str_eq(now->user, "a");
    ck_assert_uint_eq(now->sys_interval_ms, 2000);
    ck_assert_uint_eq(now->listeners[1].port, 1);
    ck_assert_uint_eq(now->listeners[1].max_qos, 2);
    s = (struct said){ .lines = 0 };
    config_keep_fixed(was, was, fixed_key, &s);
    ck_assert_uint_eq(s.lines, 0);
    config_free(was);
    config_free(now);
}
END_TEST

START_TEST(where_names_the_line)
{
    struct config *c = load_good("[broker]\nuser = a\n[listener a]\nport = 1\n");
    char out[128];

    ck_assert_str_eq(config_where(c, "broker", "user", -1, out, sizeof out), "f:2");
    ck_assert_str_eq(config_where(c, "listener", "port", 0, out, sizeof out), "f:4");
    ck_assert_str_eq(config_where(c, "listener", "address", 0, out, sizeof out), "f:3");
    ck_assert_str_eq(config_where(c, "log", "level", -1, out, sizeof out), "f: [log]");
    config_free(c);
}
END_TEST

START_TEST(files_are_opened)
{
    struct config *c = load_good("[broker]\nuser = nobody-has-this-name\nenable_control = no\n"
                                 "[persistence]\npath = /nowhere/there/x.db\n[log]\ndest = file /\n"
                                 "[listener a]\ninterface = nosuchif0\n");
    struct said s = { .lines = 0 };

    ck_assert_uint_eq(config_check_files(c, hear, &s), 4);
    ck_assert_ptr_nonnull(strstr(s.text, "f:2: user: there is no account \"nobody-has-this-name\" on this machine\n"));
    ck_assert_ptr_nonnull(strstr(s.text, "f:5: path: the directory \"/nowhere/there\": No such file or directory\n"));
    ck_assert_ptr_nonnull(strstr(s.text, "f:7: dest: \"/\" is there and is something else\n"));
    ck_assert_ptr_nonnull(strstr(s.text, "f:9: interface: there is no \"nosuchif0\" on this machine\n"));
    config_free(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *t = tcase_create("config");

    tcase_add_loop_test(t, bad_rows, 0, COUNT(bad));
    tcase_add_loop_test(t, duration_rows, 0, COUNT(durations));
    tcase_add_test(t, keys_of_tls);
    tcase_add_test(t, keys_of_the_control_socket);
    tcase_add_test(t, all_errors_in_one_run);
    tcase_add_test(t, zero_byte);
    tcase_add_test(t, unreadable_files);
    tcase_add_test(t, defaults);
    tcase_add_test(t, zero_and_never);
    tcase_add_test(t, forms);
    tcase_add_test(t, values_go_on_in_indented_lines);
    tcase_add_test(t, keys_may_be_indented);
    tcase_add_test(t, long_lines_are_whole);
    tcase_add_test(t, log_destinations_add_up);
    tcase_add_test(t, anonymous_is_closed_once_a_listener_is_configured);
    tcase_add_test(t, listeners_inherit_auth);
    tcase_add_test(t, unix_socket_has_no_port);
    tcase_add_test(t, includes);
    tcase_add_test(t, sample_is_what_is_shipped);
    tcase_add_test(t, sample_loads);
    tcase_add_test(t, table_is_sound);
    tcase_add_test(t, reload_names_what_cannot_change);
    tcase_add_test(t, where_names_the_line);
    tcase_add_test(t, files_are_opened);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
