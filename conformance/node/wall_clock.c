/* Preloaded into a node: its wall clock is off by as many microseconds as the file named by TEST_CLOCK_FILE says (eight bytes, little
 * endian), from one reading to the next. Monotonic time is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *off_micros;

__attribute__((constructor)) static void map_file(void)
{
    const char *name = getenv("TEST_CLOCK_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *off_micros, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        abort();
    off_micros = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*machine)(clockid_t, struct timespec *);
    if (!machine)
        machine = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = machine(clock, time);
    if (!failed && clock == CLOCK_REALTIME && off_micros) {
        int64_t nanos = time->tv_nsec + *off_micros % 1000000 * 1000;
        time->tv_sec += *off_micros / 1000000 + (nanos >= 1000000000) - (nanos < 0);
        time->tv_nsec = nanos + (nanos < 0) * 1000000000LL - (nanos >= 1000000000) * 1000000000LL;
    }
    return failed;
}
