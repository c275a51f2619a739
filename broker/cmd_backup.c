/* `caddis backup`: a consistent copy of the store, whether the broker runs or not.
 *
 * The broker only writes what it still has in memory; the copy is made here, by a reader of its own. So nobody waits
 * for it, however large the store is, and it goes where the user may write, not where the broker may.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "broker/cmd.h"
#include "broker/control_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "store: PATH\n" -> PATH, in place; NULL: that is not what it says. */
static char *path_in(char *answer)
{
    static const char head[] = "store: ";

    if (answer == NULL || strncmp(answer, head, sizeof head - 1) != 0)
        return NULL;
    answer[strcspn(answer, "\n")] = '\0';
    return answer + sizeof head - 1;
}

/* Where the store is; a running broker has written to it what it had in memory. NULL: stderr has the reason.
 * *answer: to be freed. */
static const char *find_store(const struct control_tool *t, char **answer)
{
    size_t len;
    FILE *out = open_memstream(answer, &len);
    enum control_asked asked;

    if (out == NULL)
        return NULL;
    asked = control_ask(t, "commit", NULL, out);
    fclose(out);
    if (asked == ASKED_OK)
        return path_in(*answer);
    if (asked == ASKED_NOBODY && t->cfg == NULL)
        control_nobody(t, "; with -c FILE its store can be copied without it");
    if (t->cfg == NULL)
        return NULL;
    if (!t->cfg->persistence) {
        fprintf(stderr, "caddis backup: this configuration has no store\n");
        return NULL;
    }
    if (asked == ASKED_FAILED)
        fprintf(stderr, "caddis backup: what the broker has in memory only is not in the copy\n");
    return t->cfg->store_path;
}

/* The new name is on the disk too. */
static bool sync_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
    int fd = dir != NULL ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    free(dir);
    return ok;
}

/* Under another name until it is complete. */
static int copy(struct persist *p, const char *from, const char *to)
{
    char *part = NULL, *why = NULL;
    int code = EXIT_FAILED;

    if (asprintf(&part, "%s.part-%ld", to, (long)getpid()) < 0)
        return code;
    if (persist_backup(p, part, &why) != PERSIST_OK)
        fprintf(stderr, "caddis backup: %s\n", why != NULL ? why : "no memory");
    else if (rename(part, to) < 0 || !sync_name(to))
        fprintf(stderr, "caddis backup: %s: %s\n", to, strerror(errno));
    else
        code = EXIT_OK;
    if (code == EXIT_OK)
        printf("%s copied to %s\n", from, to);
    else
        unlink(part);
    free(part);
    free(why);
    return code;
}

static int backup(const struct control_tool *t)
{
    const char *to = t->words[0], *from;
    struct persist_open_info info;
    struct persist *p;
    char *answer = NULL, *why = NULL;
    int code = EXIT_FAILED;

    if (access(to, F_OK) == 0) {
        fprintf(stderr, "caddis backup: %s is there already; name a new file\n", to);
        return EXIT_FAILED;
    }
    from = find_store(t, &answer);
    if (from != NULL) {
        struct persist_options o = { .path = from, .read_only = true };

        if (persist_open(&o, &p, &info, &why) == PERSIST_REFUSED) {
            fprintf(stderr, "caddis backup: %s\n", why != NULL ? why : "no memory");
        } else {
            code = copy(p, from, to);
            persist_close(&p);
        }
    }
    free(why);
    free(answer);
    return code;
}

int cmd_backup(int argc, char **argv)
{
    struct control_tool t = {
        .name = "backup", .words_needed = 1,
        .help =
            "Usage: caddis backup FILE [-c FILE | --socket PATH]\n\n"
            "Copies the store to a file that is not there yet. The broker may run, and nobody waits meanwhile;\n"
            "the copy is as of one moment, and a broker can be started with it.\n\n"
            "  -c, --config FILE   the broker's configuration: where its control socket and its store are\n"
            "      --socket PATH   the control socket itself\n"
            "  -h, --help          this text\n\n"
            "Exit status: 0 copied, 1 not copied, 2 wrong options, 3 errors in the configuration.\n",
    };
    int code = control_tool_parse(&t, argc, argv);

    if (code < 0)
        code = backup(&t);
    return control_tool_done(&t, code);
}
