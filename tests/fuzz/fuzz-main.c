/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * fuzz-main — a fuzz target without libFuzzer: TARGET SEED-DIRECTORY [MUTATIONS [SEED]]
 *
 * Replays every file of the directory, then as many random mutations of them as
 * are asked for, in blocks of exactly their size, so that a sanitizer sees every step
 * outside. The same SEED gives the same inputs. An input that breaks a property is
 * written to TARGET.crash first.
 */

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX 65536u
#define SEEDS_MAX 1000u

static struct {
        uint8_t *data;
        size_t size;
} seeds[SEEDS_MAX];
static size_t n_seeds;

static const uint8_t *current;
static size_t current_size;
static char crash_file[4096];

static uint64_t dice_state;

/* xorshift64* */
static uint64_t dice(uint64_t n) {
        dice_state ^= dice_state >> 12;
        dice_state ^= dice_state << 25;
        dice_state ^= dice_state >> 27;
        return (dice_state * 2685821657736338717u >> 16) % n;
}

static void on_abort(int signal_number) {
        FILE *f = fopen(crash_file, "wb");

        if (f) {
                (void)fwrite(current, 1, current_size, f);
                (void)fclose(f);
                fprintf(stderr, "the input is in %s\n", crash_file);
        }
}

static void run(const uint8_t *data, size_t size) {
        uint8_t *exact = malloc(size ? size : 1);

        if (!exact)
                abort();
        memcpy(exact, data, size);
        current = exact;
        current_size = size;
        (void)LLVMFuzzerTestOneInput(exact, size);
        free(exact);
}

static void load(const char *path) {
        FILE *f = fopen(path, "rb");

        if (!f || n_seeds == SEEDS_MAX) {
                fprintf(stderr, "cannot take %s\n", path);
                exit(1);
        }
        seeds[n_seeds].data = malloc(INPUT_MAX);
        if (!seeds[n_seeds].data)
                abort();
        seeds[n_seeds].size = fread(seeds[n_seeds].data, 1, INPUT_MAX, f);
        n_seeds++;
        (void)fclose(f);
}

static void load_all(const char *path) {
        DIR *dir = opendir(path);
        struct dirent *de;
        char file[4096];

        while (dir && (de = readdir(dir))) {
                if (de->d_name[0] == '.')
                        continue;
                (void)snprintf(file, sizeof(file), "%s/%s", path, de->d_name);
                load(file);
        }
        if (dir)
                (void)closedir(dir);
        if (n_seeds == 0) {
                fprintf(stderr, "no seeds in %s\n", path);
                exit(1);
        }
}

static size_t mutate(uint8_t *data, size_t size) {
        static const uint8_t telling[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '/', '.', '\n'};

        for (uint64_t n = 1 + dice(8); n > 0; n--) {
                size_t at = size ? dice(size) : 0, length;

                switch (dice(7)) {
                case 0: /* a bit */
                        if (size)
                                data[at] ^= (uint8_t)(1u << dice(8));
                        break;
                case 1: /* a byte */
                        if (size)
                                data[at] = (uint8_t)dice(256);
                        break;
                case 2: /* a byte that means something */
                        if (size)
                                data[at] = telling[dice(sizeof(telling))];
                        break;
                case 3: /* shorter */
                        size = at;
                        break;
                case 4: /* a piece twice */
                        length = size ? dice(size - at) + 1 : 0;
                        if (size + length <= INPUT_MAX && length > 0) {
                                memmove(data + at + length, data + at, size - at);
                                size += length;
                        }
                        break;
                case 5: /* a piece away */
                        length = size ? dice(size - at) : 0;
                        memmove(data + at, data + at + length, size - at - length);
                        size -= length;
                        break;
                default: { /* a piece of another one */
                        size_t other = dice(n_seeds);

                        length = seeds[other].size;
                        if (length > size - at)
                                length = size - at;
                        memcpy(data + at, seeds[other].data, length);
                }
                }
        }
        return size;
}

int main(int argc, char **argv) {
        static uint8_t buffer[INPUT_MAX];
        uint64_t mutations = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

        if (argc < 2) {
                fprintf(stderr, "%s SEED-DIRECTORY [MUTATIONS [SEED]]\n", argv[0]);
                return 2;
        }
        dice_state = argc > 3 ? strtoull(argv[3], NULL, 10) | 1 : 88172645463325252u;
        (void)snprintf(crash_file, sizeof(crash_file), "%.4000s.crash", argv[0]);
        (void)signal(SIGABRT, on_abort);

        load_all(argv[1]);
        for (size_t i = 0; i < n_seeds; i++)
                run(seeds[i].data, seeds[i].size);
        run(buffer, 0);
        for (uint64_t i = 0; i < mutations; i++) {
                size_t seed = dice(n_seeds), size = seeds[seed].size;

                memcpy(buffer, seeds[seed].data, size);
                run(buffer, mutate(buffer, size));
        }
        printf("%zu seeds, %llu mutations\n", n_seeds, (unsigned long long)mutations);
        for (size_t i = 0; i < n_seeds; i++)
                free(seeds[i].data);
        return 0;
}
