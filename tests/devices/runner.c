/* A program for the tests' phone that fails on demand. It prints what executor_runner or onnxruntime_perf_test (by its own name)
   prints, in the shapes of their sources, for runs that sleep; the file `fault` beside it says what goes wrong, and at which run. */
#define _GNU_SOURCE
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char fault[32] = "";
static int at = -1;
static FILE *log_file;

static double slept_ms(void) {
  struct timespec before, after, pause = {0, 2000000};
  clock_gettime(CLOCK_MONOTONIC, &before);
  nanosleep(&pause, NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  return (after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6;
}

static void fail_at(int run) {
  if (run != at) return;
  if (!strcmp(fault, "crash")) raise(SIGSEGV);
  if (!strcmp(fault, "hang")) for (;;) pause();
  if (!strcmp(fault, "exit")) { fprintf(log_file, "out of memory\n"); exit(3); }
}

static int executor_runner(int runs) {
  fprintf(log_file, "I 00:00:00.000100 executorch:executor_runner.cpp:624] Model loaded in 1.500000 ms.\n");
  for (int run = 1; run <= runs; run++) {
    fail_at(run);
    fprintf(log_file, "I 00:00:00.000200 executorch:executor_runner.cpp:779] Iteration %d of %d: %f ms\n", run, runs, slept_ms());
    fflush(log_file);
  }
  return 0;
}

static int perf_test(int runs, const char *result) {
  fail_at(0);
  printf("Session creation time cost: 0.00215 s\nFirst inference time cost: 2 ms\nPeak working set size: 9437184 bytes\n");
  FILE *file = fopen(result, "a");
  for (int run = 0; run < runs; run++) {
    fail_at(run + 1);
    fprintf(file, "model,%g,9437184,98,%d\n", slept_ms() / 1e3, run);
  }
  fclose(file);
  return 0;
}

int main(int count, char **given) {
  char path[512], folder[512];
  snprintf(folder, sizeof folder, "%s", given[0]);
  snprintf(path, sizeof path, "%s/../../fault", dirname(folder));
  log_file = stderr;
  FILE *told = fopen(path, "r");
  if (told && fscanf(told, "%31s %d", fault, &at) < 1) fault[0] = 0;
  if (!strcmp(fault, "log") && !(log_file = fopen("/data/local/tmp/log", "a"))) return 9;
  if (!strcmp(fault, "garbage")) { printf("Hello\x01\xff, I am no runner\n"); usleep(50000); return 0; }
  int runs = 1;
  const char *outputs = NULL;
  for (int index = 1; index < count; index++) {
    if (!strncmp(given[index], "--num_executions=", 17)) runs = atoi(given[index] + 17);
    if (!strncmp(given[index], "--output_file=", 14)) outputs = given[index] + 14;
    if (!strcmp(given[index], "-r")) runs = atoi(given[index + 1]);
  }
  if (strstr(given[0], "perf_test")) return perf_test(runs, given[count - 1]);
  if (outputs) {
    snprintf(path, sizeof path, "%s-0.bin", outputs);
    FILE *file = fopen(path, "wb");
    for (int index = 0; index < 5; index++) fwrite(&(float){1.0f}, sizeof(float), 1, file);
    fclose(file);
  }
  return executor_runner(runs);
}
