/* A main() for fuzz targets where there is no libFuzzer: gives every file named, and every file in every directory
 * named, to the target once. A target that disagrees aborts.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned files;

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size > 0 ? size : 1);
    int rc = -1;

    if (f != NULL && data != NULL && fread(data, 1, size, f) == size) {
        (void)LLVMFuzzerTestOneInput(data, size);
        files++;
        rc = 0;
    } else {
        perror(path);
    }
    free(data);
    if (f != NULL)
        (void)fclose(f);
    return rc;
}

static int replay(const char *path);

static int replay_dir(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int rc = 0;

    if (dir == NULL) {
        perror(path);
        return -1;
    }
    while ((entry = readdir(dir)) != NULL) {
        char name[PATH_MAX];

        if (entry->d_name[0] == '.')
            continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name || replay(name) != 0)
            rc = -1;
    }
    (void)closedir(dir);
    return rc;
}

static int replay(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        perror(path);
        return -1;
    }
    return S_ISDIR(st.st_mode) ? replay_dir(path) : replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    int rc = EXIT_SUCCESS;

    for (int i = 1; i < argc; i++) {
        if (replay(argv[i]) != 0)
            rc = EXIT_FAILURE;
    }
    printf("%u inputs\n", files);
    /* Without a single input nothing has been tested: say so instead of passing. */
    return files > 0 ? rc : EXIT_FAILURE;
}
