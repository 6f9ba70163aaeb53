/* A libcuda.so.1 on host memory for tests: the driver calls that PyCUDA and the app make, and a watch over their
 * misuse. It refuses everything else: the other names that PyCUDA links answer CUDA_ERROR_NOT_SUPPORTED.
 *
 *   memory    A device address lies in a range that nothing is mapped to; its bytes lie elsewhere (`back`), between
 *             two guard pages. A page-locked buffer is mapped twice: the program's view loses its rights while work
 *             on a stream may touch the buffer, so a missing synchronisation faults however the timing falls.
 *   order     A stream is a worker thread and a vector clock: clock[i] is the last job of stream i that precedes its
 *             next one. Events carry clocks; host_clock is what the program has waited for. A use that it does not
 *             cover is a hazard.
 *   crimes    Each is printed, counted and reported; a process with one exits 86.
 *
 * A job may need Python's lock and most calls come with it, so only those that synchronise wait for a job.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { STREAMS = 64, HAZARDS = 4096, DEPTH = 32, PAGE = 4096, CRIME_EXIT = 86, STOP_SECONDS = 2 };
static const size_t ARENA = (size_t)1 << 38; /* of addresses only: freed ones never come back */

typedef uint64_t Clock[STREAMS];
typedef struct CUstream_st Stream;
typedef struct CUctx_st Context;

typedef struct Memory {
  struct Memory *next;
  CUdeviceptr device;        /* 0: page-locked and not mapped into the device */
  char *host, *back, *whole; /* the program's view (NULL: device memory), the device's, that with its guard pages */
  size_t size, mapped;
  unsigned number;
  int rights;
  bool freed;
} Memory;

typedef struct { /* of the bytes from..to; mode 'r' or 'w' */
  Memory *memory;
  size_t from, to;
  char mode;
  int stream;
  uint64_t job;
} Use;

typedef struct Job {
  struct Job *next;
  void (*run)(struct Job *);
  Clock need;
  uint64_t number;
  bool launch;
  char *to, *from; /* copy; set */
  size_t size;
  unsigned value, unit;
  CUevent event;
  void (*call)(void *); /* of host_cuda_enqueue */
  void *argument;
  int (*kernel)(const void *, size_t, const unsigned *, const unsigned *);
  unsigned grid[3], block[3];
  uint64_t parameters[512];
} Job;

struct CUstream_st { int index; bool alive, blocking; pthread_t thread; Job *first, *last; Clock clock; uint64_t issued; };
struct CUevent_st { bool alive, timed, recorded; Clock clock; struct timespec time; };
struct CUctx_st { unsigned references, epoch; };
struct CUmod_st { void *library; bool alive; };
struct CUfunc_st { CUmodule module; void *kernel; const char *access; };

static __thread struct { int depth; struct { Context *context; unsigned epoch; } at[DEPTH]; } stack;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_key_t thread_key;
static pid_t owner; /* 0 before cuInit; a forked child is not watched */
static Context primary;
static Stream streams[STREAMS]; /* 0 is the default stream */
static Clock done, host_clock;
static Use hazards[HAZARDS];
static Memory *memories;
static char *arena;
static size_t arena_used, in_use, peak, allocations, launches, copies;
static unsigned live_events, live_modules, crimes;
static int hazard_count;
static bool stopping;
static CUresult sticky; /* after a failed launch every call answers this, as on a device */
static char crime_text[8192];
static struct sigaction earlier_segv;

/* ---- settings and reporting ---- */

static const char *setting(const char *name, const char *otherwise) {
  char full[64];
  snprintf(full, sizeof full, "OUTRIDER_HOST_CUDA_%s", name);
  const char *value = getenv(full);
  return value && *value ? value : otherwise;
}

/* The failure that OUTRIDER_HOST_CUDA_FAIL=CLASS:CODE[:N] plans for the N-th call of a class and later ones. */
static CUresult planned(const char *class) {
  static int seen;
  char wanted[16];
  int code, from = 1;
  if (sscanf(setting("FAIL", ""), "%15[a-z]:%d:%d", wanted, &code, &from) < 2 || strcmp(wanted, class)) return 0;
  return ++seen >= from ? (CUresult)code : CUDA_SUCCESS;
}

static void crime(const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "host cuda: %s\n", text);
  size_t used = strlen(crime_text);
  snprintf(crime_text + used, sizeof crime_text - used, "%s\"%s\"", used ? ", " : "", text);
  crimes++;
}

static void report(void) {
  FILE *file = fopen(setting("REPORT", "/dev/null"), "w");
  if (!file) return;
  fprintf(file, "{\"crimes\": [%s], \"allocations\": %zu, \"bytes_in_use\": %zu, \"peak_bytes\": %zu, ", crime_text,
          allocations, in_use, peak);
  fprintf(file, "\"launches\": %zu, \"copies\": %zu}\n", launches, copies);
  fclose(file);
}

/* ---- clocks and hazards (from here on all but the calls hold the lock) ---- */

static bool reached(const Clock have, const Clock want) {
  for (int i = 0; i < STREAMS; i++)
    if (have[i] < want[i]) return false;
  return true;
}

static void merge(Clock into, const Clock from) {
  for (int i = 0; i < STREAMS; i++)
    if (into[i] < from[i]) into[i] = from[i];
}

/* The program may touch a page-locked buffer, all of it, as far as no unfinished use of any part forbids it. */
static void protect(Memory *m) {
  int rights = PROT_READ | PROT_WRITE;
  for (int i = 0; i < hazard_count; i++)
    if (hazards[i].memory == m) rights &= hazards[i].mode == 'w' ? PROT_NONE : PROT_READ;
  if (m->host && !m->freed && rights != m->rights) mprotect(m->host, m->mapped, m->rights = rights);
}

static CUresult host_waited_for(const Clock clock) {
  merge(host_clock, clock);
  for (int i = hazard_count; i--;) {
    Use over = hazards[i];
    if (over.job > host_clock[over.stream]) continue;
    hazards[i] = hazards[--hazard_count];
    protect(over.memory);
  }
  return sticky;
}

static CUresult synchronise(const Clock until) {
  Clock clock;
  memcpy(clock, until, sizeof clock);
  while (!reached(done, clock)) pthread_cond_wait(&changed, &lock);
  return host_waited_for(clock);
}

static const Use *pending(const Memory *m) {
  for (int i = 0; i < hazard_count; i++)
    if (hazards[i].memory == m) return &hazards[i];
  return NULL;
}

static const char *kind(const Memory *m) { return m->host ? "page-locked buffer" : "device memory"; }

static void use(Stream *s, Use u) {
  int same = hazard_count;
  for (int i = 0; i < hazard_count; i++) {
    const Use *h = &hazards[i];
    if (h->memory != u.memory || h->to <= u.from || u.to <= h->from) continue;
    if (h->stream == s->index && h->from == u.from && h->to == u.to && h->mode == u.mode) same = i;
    if ((h->mode == 'w' || u.mode == 'w') && h->job > s->clock[h->stream])
      crime("stream %d uses %s %u while stream %d still %s it: no event or synchronisation between", s->index,
            kind(u.memory), u.memory->number, h->stream, h->mode == 'w' ? "writes" : "reads");
  }
  if (same == HAZARDS) fprintf(stderr, "host cuda: too many uses without synchronisation\n"), abort();
  if (same == hazard_count) hazard_count++;
  u.stream = s->index, u.job = s->issued, hazards[same] = u;
  protect(u.memory);
}

/* ---- memory ---- */

static bool is_device(CUdeviceptr at) { return arena && at - (CUdeviceptr)arena < ARENA; }

static Memory *device_range(CUdeviceptr at, size_t size, const char *what) {
  Memory *m = memories;
  while (m && !(m->device && at - m->device < m->size)) m = m->next;
  if (m && !m->freed && size <= m->device + m->size - at) return m;
  if (!m) crime("%s: %#llx is no address of device memory", what, at);
  else if (m->freed) crime("%s: %s %u is used after it was freed", what, kind(m), m->number);
  else crime("%s: %zu bytes at byte %llu of %s %u of %zu", what, size, at - m->device, kind(m), m->number, m->size);
  return NULL;
}

static Memory *host_range(const char *at, size_t size) {
  Memory *m = memories;
  while (m && !(m->host && !m->freed && (size_t)(at - m->host) < m->size)) m = m->next;
  return m && size <= (size_t)(m->host + m->size - at) ? m : NULL;
}

static size_t total_bytes(void) { return (size_t)atoi(setting("MEMORY_MB", "7620")) << 20; }

static CUresult allocate(Memory **result, size_t size, bool locked, bool on_device) {
  static unsigned numbers;
  CUresult failure = planned(locked ? "pinned" : "alloc");
  if (failure || !size) return failure ? failure : CUDA_ERROR_INVALID_VALUE;
  if (in_use + size > total_bytes()) return CUDA_ERROR_OUT_OF_MEMORY;
  Memory *m = calloc(1, sizeof *m);
  *m = (Memory){.next = memories, .size = size, .number = ++numbers, .rights = PROT_READ | PROT_WRITE};
  m->mapped = (size + PAGE - 1) / PAGE * PAGE;
  int file = memfd_create("host cuda", 0);
  m->whole = mmap(NULL, m->mapped + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (file < 0 || ftruncate(file, m->mapped) || m->whole == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  m->back = mmap(m->whole + PAGE, m->mapped, m->rights, MAP_FIXED | MAP_SHARED, file, 0);
  if (locked) m->host = mmap(NULL, m->mapped, m->rights, MAP_SHARED, file, 0);
  else m->back += (m->mapped - size) & ~(size_t)255; /* the end close to the guard page */
  close(file);
  memset(m->back, 0xCD, size < 1 << 24 ? size : 1 << 24); /* memory is not zero to begin with */
  if (on_device) m->device = (CUdeviceptr)arena + arena_used, arena_used += (size + 2 * PAGE + 65535) / 65536 * 65536;
  if (arena_used > ARENA) fprintf(stderr, "host cuda: out of addresses\n"), abort();
  in_use += size, allocations++;
  if (peak < in_use) peak = in_use;
  return *result = memories = m, CUDA_SUCCESS;
}

static CUresult release(Memory *m, const char *what) {
  if (!m || m->freed) {
    if (m) crime("%s: %s %u is freed twice", what, kind(m), m->number);
    else crime("%s: this address was never allocated", what);
    return CUDA_ERROR_INVALID_VALUE;
  }
  const Use *h = sticky ? NULL : pending(m);
  if (h) crime("%s: %s %u is freed while stream %d may still use it", what, kind(m), m->number, h->stream);
  m->freed = true, in_use -= m->size;
  if (m->host) mmap(m->host, m->mapped, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!pending(m)) munmap(m->whole, m->mapped + 2 * PAGE);
  return sticky;
}

/* A fault of the program ends the process; this says first which rule it broke, if it was one of these. */
static void on_segv(int signal, siginfo_t *info, void *unused) {
  (void)signal, (void)unused;
  char *at = info->si_addr;
  if (is_device((CUdeviceptr)at)) crime("the program touches device address %p", at);
  for (Memory *m = memories; m; m = m->next) {
    const Use *h = pending(m);
    if (!m->freed && at >= m->whole && at < m->whole + m->mapped + 2 * PAGE) crime("a kernel leaves %s %u", kind(m), m->number);
    if (!m->host || at < m->host || at >= m->host + m->mapped) continue;
    if (m->freed) crime("page-locked buffer %u is used after it was freed", m->number);
    else if (h) crime("the program touches page-locked buffer %u before stream %d, which %s it, is synchronised",
                      m->number, h->stream, h->mode == 'w' ? "writes" : "reads");
  }
  report();
  sigaction(SIGSEGV, &earlier_segv, NULL); /* the access repeats, now without us */
}

/* ---- streams ---- */

static void run_copy(Job *job) { memcpy(job->to, job->from, job->size); }
static void run_event(Job *job) { clock_gettime(CLOCK_MONOTONIC, &job->event->time); }
static void run_kernel(Job *job) {
  if (job->kernel(job->parameters, job->size, job->grid, job->block)) sticky = CUDA_ERROR_LAUNCH_FAILED;
}
static void run_call(Job *job) { job->call(job->argument); }
static void run_set(Job *job) {
  for (size_t i = 0; i < job->size; i += job->unit) memcpy(job->to + i, &job->value, job->unit);
}

static void *worker(void *stream) {
  Stream *s = stream;
  unsigned seed = s->index, delay_us = atoi(setting("DELAY_US", "0"));
  pthread_mutex_lock(&lock);
  for (;;) {
    while (!stopping && (!s->first || !reached(done, s->first->need))) pthread_cond_wait(&changed, &lock);
    if (stopping) break;
    Job *job = s->first;
    s->first = job->next;
    if (job->launch && !sticky) launches++, sticky = planned("launch");
    bool run = !sticky;
    pthread_mutex_unlock(&lock);
    if (run && delay_us) usleep(rand_r(&seed) % delay_us);
    if (run) job->run(job);
    pthread_mutex_lock(&lock);
    done[s->index] = job->number;
    free(job);
    pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

static Stream *open_stream(unsigned flags) {
  int i = 0;
  while (i < STREAMS && streams[i].alive) i++;
  if (i == STREAMS) return NULL;
  Stream *s = &streams[i];
  s->index = i, s->alive = true, s->blocking = !(flags & CU_STREAM_NON_BLOCKING);
  merge(s->clock, host_clock);
  if (s->thread) return s; /* of an earlier stream */
  sigset_t all, before; /* a worker takes none of the program's signals but its own faults */
  sigfillset(&all), sigdelset(&all, SIGSEGV);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_create(&s->thread, NULL, worker, s);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return s;
}

static CUresult enqueue(Stream *s, Job wanted, int count, const Use *uses) {
  Job *job = malloc(sizeof *job);
  *job = wanted;
  /* The default stream waits for all streams but the non-blocking ones, and they for it. */
  for (int i = 1; s == streams && i < STREAMS; i++)
    if (streams[i].blocking) merge(s->clock, streams[i].clock);
  if (s != streams && s->blocking) merge(s->clock, streams[0].clock);
  memcpy(job->need, s->clock, sizeof job->need);
  job->need[s->index] = 0; /* first in, first out */
  s->clock[s->index] = job->number = ++s->issued;
  for (int i = 0; i < count; i++)
    if (uses[i].memory) use(s, uses[i]);
  if (s->first) s->last->next = job;
  else s->first = job;
  s->last = job;
  pthread_cond_broadcast(&changed);
  return CUDA_SUCCESS;
}

/* ---- entering a call, and the end ---- */

/* PyCUDA's detach() leaves a context that it destroyed on the stack: such a one counts for nothing. */
static bool stands(int i) { return stack.at[i].context->references && stack.at[i].epoch == stack.at[i].context->epoch; }

static CUresult push(Context *context) {
  if (!context->references) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (stack.depth == DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
  stack.at[stack.depth].context = context, stack.at[stack.depth++].epoch = context->epoch;
  pthread_setspecific(thread_key, context); /* so that the end of this thread is seen */
  return CUDA_SUCCESS;
}

static void thread_ends(void *unused) {
  (void)unused;
  for (int i = 0; i < stack.depth; i++)
    if (stands(i)) crime("a context is left on the stack of a thread that ends");
}

static CUresult enter(const char *name, bool needs_context) {
  pthread_mutex_lock(&lock);
  if (!owner) return CUDA_ERROR_NOT_INITIALIZED;
  if (sticky) return sticky;
  if (!needs_context || (stack.depth && stands(stack.depth - 1))) return CUDA_SUCCESS;
  crime("%s: called from a thread without a context", name);
  return CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult leave(CUresult result) {
  pthread_mutex_unlock(&lock);
  return result;
}

static CUresult dead(const char *name, const char *what) {
  crime("%s: %s is used after it was destroyed", name, what);
  return leave(CUDA_ERROR_INVALID_HANDLE);
}

/* In a call: what has to hold before it does anything. Cleaning up works on a failed device too. */
#define ENTER(needs_context) \
  do { CUresult entered = enter(__func__, needs_context); if (entered) return leave(entered); } while (0)
#define ENTER_CLEANUP() \
  do { CUresult entered = enter(__func__, true); if (entered && entered != sticky) return leave(entered); } while (0)
#define STREAM(s) do { if (!(s)) (s) = streams; if (!(s)->alive) return dead(__func__, "a stream"); } while (0)
#define ALIVE(thing, what) do { if (!(thing)->alive) return dead(__func__, what); } while (0)

static void leaks(const char *when) {
  unsigned open = 0;
  for (Memory *m = memories; m && !sticky; m = m->next) {
    if (m->freed) continue;
    crime("%s %u of %zu bytes is leaked: not freed %s", kind(m), m->number, m->size, when);
    m->freed = true, in_use -= m->size;
  }
  for (int i = 1; i < STREAMS; streams[i++].alive = false) {
    if (streams[i].alive && streams[i].issued > host_clock[i] && !sticky) crime("stream %d is not synchronised %s", i, when);
    open += streams[i].alive;
  }
  if (open + live_events + live_modules && !sticky)
    crime("leaked: %u streams, %u events, %u modules alive %s", open, live_events, live_modules, when);
  live_events = live_modules = 0;
}

static void at_the_end(void) {
  if (getpid() != owner) return;
  pthread_mutex_lock(&lock);
  thread_ends(NULL);
  if (primary.references && !sticky) crime("the primary context is never released");
  leaks("at exit");
  stopping = true;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += STOP_SECONDS;
  for (int i = 0; i < STREAMS; i++)
    if (streams[i].thread && pthread_timedjoin_np(streams[i].thread, NULL, &until)) crime("stream %d runs on at exit", i);
  report();
  if (!crimes) return;
  fprintf(stderr, "host cuda: %u crimes, exit %d\n", crimes, CRIME_EXIT);
  fflush(NULL);
  _exit(CRIME_EXIT);
}

/* ---- the calls: device and context ---- */

CUresult cuInit(unsigned flags) {
  pthread_mutex_lock(&lock);
  CUresult failure = flags ? CUDA_ERROR_INVALID_VALUE : planned("init");
  if (failure || owner) return leave(failure);
  arena = mmap(NULL, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) return leave(CUDA_ERROR_OUT_OF_MEMORY);
  owner = getpid();
  pthread_key_create(&thread_key, thread_ends);
  open_stream(0);
  struct sigaction ours = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &ours, &earlier_segv);
  atexit(at_the_end); /* after Python's own end, before PyCUDA's static objects end */
  return leave(CUDA_SUCCESS);
}

static int attribute(CUdevice_attribute which) {
  int major = 0, minor = 0;
  sscanf(setting("CC", "8.7"), "%d.%d", &major, &minor);
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return major;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return minor;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return atoi(setting("SMS", "8"));
    case CU_DEVICE_ATTRIBUTE_INTEGRATED: return atoi(setting("INTEGRATED", "1"));
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: return 1;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return 1024;
    default: return 0;
  }
}

#define ASK(name, type, answer) \
  CUresult name(type *value, CUdevice device) { \
    ENTER(false); \
    return device ? leave(CUDA_ERROR_INVALID_DEVICE) : (*value = (answer), leave(CUDA_SUCCESS)); \
  }
ASK(cuDeviceGet, CUdevice, 0) /* the only ordinal is 0 too */
ASK(cuDeviceTotalMem, size_t, total_bytes())
CUresult cuDriverGetVersion(int *version) { return *version = atoi(setting("DRIVER", "12060")), CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *count) { ENTER(false); return *count = 1, leave(CUDA_SUCCESS); }
CUresult cuCtxGetDevice(CUdevice *device) { ENTER(true); return *device = 0, leave(CUDA_SUCCESS); }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device) {
  ENTER(false);
  return device ? leave(CUDA_ERROR_INVALID_DEVICE) : (*value = attribute(which), leave(CUDA_SUCCESS));
}
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
  CUresult result = cuDeviceGetAttribute(major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
  return result ? result : cuDeviceGetAttribute(minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
}
CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
  ENTER(false);
  return snprintf(name, size, "%s", setting("NAME", "Orin")), leave(device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}
CUresult cuMemGetInfo(size_t *left, size_t *total) {
  ENTER(true);
  return *total = total_bytes(), *left = *total - in_use, leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  ENTER(false);
  CUresult failure = device ? CUDA_ERROR_INVALID_DEVICE : planned("retain");
  if (!failure) primary.references++, *context = &primary;
  return leave(failure);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  pthread_mutex_lock(&lock);
  if (device || !primary.references) {
    crime("the primary context is released once more than it was retained");
    return leave(CUDA_ERROR_INVALID_CONTEXT);
  }
  if (!--primary.references) leaks("when the primary context is released"), primary.epoch++;
  return leave(CUDA_SUCCESS);
}

CUresult cuCtxDetach(CUcontext context) { /* PyCUDA's destructor; only its detach() knows the right call */
  (void)context;
  crime("the primary context is left to PyCUDA's destructor: call detach() on the thread that retained it");
  return CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxPushCurrent(CUcontext context) {
  pthread_mutex_lock(&lock);
  return leave(owner ? push(context) : CUDA_ERROR_NOT_INITIALIZED);
}

CUresult cuCtxPopCurrent(CUcontext *context) {
  if (!stack.depth) return crime("a context is popped from an empty stack"), CUDA_ERROR_INVALID_CONTEXT;
  stack.depth--;
  if (context) *context = stack.at[stack.depth].context;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void) {
  ENTER(true);
  Clock all;
  for (int i = 0; i < STREAMS; i++) all[i] = streams[i].issued;
  return leave(synchronise(all));
}

/* ---- memory ---- */

CUresult cuMemAlloc(CUdeviceptr *at, size_t size) {
  ENTER(true);
  Memory *m;
  CUresult result = allocate(&m, size, false, true);
  return result ? leave(result) : (*at = m->device, leave(CUDA_SUCCESS));
}

CUresult cuMemHostAlloc(void **at, size_t size, unsigned flags) {
  ENTER(true);
  Memory *m;
  CUresult result = allocate(&m, size, true, flags & CU_MEMHOSTALLOC_DEVICEMAP);
  return result ? leave(result) : (*at = m->host, leave(CUDA_SUCCESS));
}

CUresult cuMemFree(CUdeviceptr at) {
  ENTER_CLEANUP();
  Memory *m = memories;
  while (m && (m->device != at || m->host)) m = m->next;
  return leave(release(m, __func__));
}

CUresult cuMemFreeHost(void *at) {
  ENTER_CLEANUP();
  Memory *m = memories;
  while (m && m->host != at) m = m->next;
  return leave(release(m, __func__));
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *at, void *host, unsigned flags) {
  ENTER(true);
  Memory *m = host_range(host, 1);
  if (flags || !m || !m->device) return leave(CUDA_ERROR_INVALID_VALUE);
  return *at = m->device + ((char *)host - m->host), leave(CUDA_SUCCESS);
}

/* One side of a job: where its bytes lie and, unless it is the program's own memory, its use. */
static bool side(bool device, uint64_t at, size_t size, char mode, const char *what, char **bytes, Use *u) {
  Memory *m = device ? device_range(at, size, what) : host_range((void *)at, size);
  size_t from = m ? at - (device ? m->device : (CUdeviceptr)m->host) : 0;
  *u = (Use){.memory = m, .from = from, .to = from + size, .mode = mode};
  *bytes = m ? m->back + from : (char *)at;
  if (!device && is_device(at)) crime("%s: a device address stands where host memory is wanted", what);
  return device ? m != NULL : !is_device(at);
}

static CUresult copy(const char *what, bool to_device, uint64_t to, bool from_device, uint64_t from, size_t size,
                     bool async, Stream *s) {
  Job job = {.run = run_copy, .size = size};
  Use uses[2];
  if (!side(from_device, from, size, 'r', what, &job.from, &uses[0]) ||
      !side(to_device, to, size, 'w', what, &job.to, &uses[1]))
    return CUDA_ERROR_INVALID_VALUE;
  bool pageable = !uses[0].memory || !uses[1].memory;
  if (async && pageable) crime("%s: asynchronous copy of memory that is not page-locked", what);
  copies++;
  enqueue(s, job, 2, uses);
  return async && !pageable ? CUDA_SUCCESS : synchronise(s->clock);
}

static CUresult set(const char *what, CUdeviceptr at, unsigned value, unsigned unit, size_t count, bool async, Stream *s) {
  Job job = {.run = run_set, .value = value, .unit = unit, .size = count * unit};
  Use u;
  if (!side(true, at, job.size, 'w', what, &job.to, &u)) return CUDA_ERROR_INVALID_VALUE;
  enqueue(s, job, 1, &u);
  return async ? CUDA_SUCCESS : synchronise(s->clock);
}

#define COPY(name, to_type, to_device, from_type, from_device) \
  CUresult name(to_type to, from_type from, size_t size) { \
    ENTER(true); \
    return leave(copy(__func__, to_device, (uint64_t)to, from_device, (uint64_t)from, size, false, streams)); \
  }
#define COPY_ASYNC(name, to_type, to_device, from_type, from_device) \
  CUresult name(to_type to, from_type from, size_t size, CUstream s) { \
    ENTER(true); \
    STREAM(s); \
    return leave(copy(__func__, to_device, (uint64_t)to, from_device, (uint64_t)from, size, true, s)); \
  }
#define SET(name, name_async, type) \
  CUresult name(CUdeviceptr at, type value, size_t count) { \
    ENTER(true); \
    return leave(set(__func__, at, value, sizeof value, count, false, streams)); \
  } \
  CUresult name_async(CUdeviceptr at, type value, size_t count, CUstream s) { \
    ENTER(true); \
    STREAM(s); \
    return leave(set(__func__, at, value, sizeof value, count, true, s)); \
  }
COPY(cuMemcpyHtoD, CUdeviceptr, true, const void *, false)
COPY(cuMemcpyDtoH, void *, false, CUdeviceptr, true)
COPY_ASYNC(cuMemcpyHtoDAsync, CUdeviceptr, true, const void *, false)
COPY_ASYNC(cuMemcpyDtoHAsync, void *, false, CUdeviceptr, true)
COPY_ASYNC(cuMemcpyDtoDAsync, CUdeviceptr, true, CUdeviceptr, true)
SET(cuMemsetD8, cuMemsetD8Async, unsigned char)
SET(cuMemsetD32, cuMemsetD32Async, unsigned)

/* ---- streams and events ---- */

CUresult cuStreamCreate(CUstream *result, unsigned flags) {
  ENTER(true);
  return leave((*result = open_stream(flags)) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult cuStreamDestroy(CUstream s) {
  ENTER_CLEANUP();
  STREAM(s);
  if (s->issued > host_clock[s->index] && !sticky) crime("stream %d is destroyed before it is synchronised", s->index);
  return s->alive = false, leave(sticky);
}

CUresult cuStreamSynchronize(CUstream s) {
  ENTER(true);
  STREAM(s);
  return leave(synchronise(s->clock));
}

CUresult cuStreamQuery(CUstream s) {
  ENTER(true);
  STREAM(s);
  return leave(reached(done, s->clock) ? host_waited_for(s->clock) : CUDA_ERROR_NOT_READY);
}

CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags) {
  ENTER(true);
  STREAM(s);
  ALIVE(e, "an event");
  return merge(s->clock, e->clock), leave(flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuEventCreate(CUevent *result, unsigned flags) {
  ENTER(true);
  CUevent e = calloc(1, sizeof *e); /* kept for good: a job may still name it */
  e->alive = true, e->timed = !(flags & CU_EVENT_DISABLE_TIMING), live_events++;
  return *result = e, leave(CUDA_SUCCESS);
}

CUresult cuEventDestroy(CUevent e) {
  ENTER_CLEANUP();
  ALIVE(e, "an event");
  return e->alive = false, live_events--, leave(sticky);
}

CUresult cuEventRecord(CUevent e, CUstream s) {
  ENTER(true);
  STREAM(s);
  ALIVE(e, "an event");
  enqueue(s, (Job){.run = run_event, .event = e}, 0, NULL);
  memcpy(e->clock, s->clock, sizeof e->clock);
  return e->recorded = true, leave(CUDA_SUCCESS);
}

CUresult cuEventSynchronize(CUevent e) {
  ENTER(true);
  ALIVE(e, "an event");
  return leave(synchronise(e->clock));
}

CUresult cuEventQuery(CUevent e) {
  ENTER(true);
  ALIVE(e, "an event");
  return leave(reached(done, e->clock) ? host_waited_for(e->clock) : CUDA_ERROR_NOT_READY);
}

CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
  ENTER(true);
  if (!start->timed || !end->timed || !start->recorded || !end->recorded) return leave(CUDA_ERROR_INVALID_HANDLE);
  if (!reached(done, start->clock) || !reached(done, end->clock)) return leave(CUDA_ERROR_NOT_READY);
  *ms = (end->time.tv_sec - start->time.tv_sec) * 1e3f + (end->time.tv_nsec - start->time.tv_nsec) / 1e6f;
  return leave(CUDA_SUCCESS);
}

/* ---- modules: for the kernel NAME of any fatbin or cubin runs host_NAME of OUTRIDER_HOST_CUDA_KERNELS ---- */

CUresult cuModuleLoadDataEx(CUmodule *result, const void *image, unsigned count, CUjit_option *options, void **values) {
  const unsigned fatbin = 0xBA55ED50;
  ENTER(true);
  for (unsigned i = 0; i < count; i++) { /* nothing is written into the logs */
    if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) values[i] = 0;
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) *(char *)values[i] = '\0';
  }
  CUresult failure = planned("load");
  if (failure) return leave(failure);
  if (memcmp(image, &fatbin, 4) && memcmp(image, "\177ELF", 4)) return leave(CUDA_ERROR_INVALID_IMAGE);
  void *library = dlopen(setting("KERNELS", "none"), RTLD_NOW);
  if (!library) return leave(CUDA_ERROR_NO_BINARY_FOR_GPU);
  CUmodule module = calloc(1, sizeof *module); /* kept for good, as the library: a job may still run in it */
  module->library = library, module->alive = true, live_modules++;
  return *result = module, leave(CUDA_SUCCESS);
}

CUresult cuModuleUnload(CUmodule module) {
  ENTER_CLEANUP();
  ALIVE(module, "a module");
  return module->alive = false, live_modules--, leave(sticky);
}

CUresult cuModuleGetFunction(CUfunction *result, CUmodule module, const char *name) {
  char symbol[256];
  ENTER(true);
  ALIVE(module, "a module");
  CUfunction f = calloc(1, sizeof *f);
  snprintf(symbol, sizeof symbol, "host_%s", name);
  f->module = module, f->kernel = dlsym(module->library, symbol);
  snprintf(symbol, sizeof symbol, "host_%s_access", name); /* "rw": how it uses its pointers; else it writes by all */
  f->access = dlsym(module->library, symbol);
  return *result = f, leave(f->kernel ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND);
}

CUresult cuFuncSetBlockShape(CUfunction f, int x, int y, int z) { /* PyCUDA's prepared calls say it twice */
  return f->module->alive && x > 0 && y > 0 && z > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* The parameters come as one buffer, as PyCUDA packs them. A word that is a device address becomes that of its bytes;
 * it is a use of the memory from there on. */
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream s, void **parameters, void **extra) {
  ENTER(true);
  STREAM(s);
  ALIVE(f->module, "a kernel's module");
  if (parameters || !extra || extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER) return leave(CUDA_ERROR_NOT_SUPPORTED);
  size_t size = *(size_t *)extra[3], threads = (size_t)bx * by * bz, blocks = (size_t)gx * gy * gz, pointers = 0;
  Job job = {.run = run_kernel, .launch = true, .kernel = f->kernel, .size = size, .grid = {gx, gy, gz}, .block = {bx, by, bz}};
  if (!blocks || !threads || threads > 1024 || shared > 49152 || size > sizeof job.parameters) return leave(CUDA_ERROR_INVALID_VALUE);
  memcpy(job.parameters, extra[1], size);
  Use uses[16];
  for (size_t i = 0; i < size / 8 && pointers < 16; i++) {
    CUdeviceptr at = job.parameters[i];
    if (!is_device(at)) continue;
    Memory *m = device_range(at, 1, __func__);
    if (!m) return leave(CUDA_ERROR_ILLEGAL_ADDRESS);
    char mode = f->access && pointers < strlen(f->access) ? f->access[pointers] : 'w';
    uses[pointers++] = (Use){.memory = m, .from = at - m->device, .to = m->size, .mode = mode};
    job.parameters[i] = (uint64_t)(m->back + (at - m->device));
  }
  return leave(enqueue(s, job, pointers, uses));
}

/* ---- for the TensorRT double: work of its own on a stream, which reads and writes these ranges ---- */

CUresult host_cuda_enqueue(CUstream s, void (*call)(void *), void *argument, int count, const uint64_t *at,
                           const uint64_t *sizes, const char *modes) {
  ENTER(true);
  STREAM(s);
  Use uses[64];
  char *bytes;
  if (count > 64) return leave(CUDA_ERROR_INVALID_VALUE);
  for (int i = 0; i < count; i++)
    if (!side(true, at[i], sizes[i], modes[i], __func__, &bytes, &uses[i])) return leave(CUDA_ERROR_ILLEGAL_ADDRESS);
  return leave(enqueue(s, (Job){.run = run_call, .launch = true, .call = call, .argument = argument}, count, uses));
}

void *host_cuda_open(uint64_t at, uint64_t size) { /* where the bytes lie, for such work as it runs */
  pthread_mutex_lock(&lock);
  Memory *m = device_range(at, size, __func__);
  pthread_mutex_unlock(&lock);
  return m ? m->back + (at - m->device) : NULL;
}

CUresult host_cuda_missing(const char *name) { /* behind every name that PyCUDA links and nothing here defines */
  crime("%s is not part of the driver for tests", name);
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  switch ((int)error) {
#define TEXT(code, words) case code: *text = words; break
    TEXT(CUDA_SUCCESS, "no error");
    TEXT(CUDA_ERROR_INVALID_VALUE, "invalid argument");
    TEXT(CUDA_ERROR_OUT_OF_MEMORY, "out of memory");
    TEXT(CUDA_ERROR_NOT_INITIALIZED, "initialization error");
    TEXT(CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable");
    TEXT(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected");
    TEXT(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal");
    TEXT(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid");
    TEXT(CUDA_ERROR_INVALID_CONTEXT, "invalid device context");
    TEXT(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device");
    TEXT(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered");
    TEXT(CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported on this OS");
    TEXT(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle");
    TEXT(CUDA_ERROR_NOT_FOUND, "named symbol not found");
    TEXT(CUDA_ERROR_NOT_READY, "device not ready");
    TEXT(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered");
    TEXT(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed");
    TEXT(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure");
    TEXT(CUDA_ERROR_NOT_SUPPORTED, "operation not supported");
    default: *text = "unknown error";
  }
  return CUDA_SUCCESS;
}
