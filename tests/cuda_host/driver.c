/* A libcuda.so.1 on host memory for tests: the driver calls that PyCUDA and the app make, and a
 * watch over their misuse. It refuses everything else (the other names that PyCUDA links answer
 * CUDA_ERROR_NOT_SUPPORTED). What it owns:
 *
 *   memory    A device address lies in a range that nothing is mapped to; its bytes lie elsewhere
 *             (`back`), between two guard pages. A page-locked buffer is mapped twice: the
 *             program's view loses its rights while work on a stream may touch the buffer, so a
 *             missing synchronisation faults however the timing falls.
 *   order     Every stream is a worker thread and a vector clock: `clock[i]` is the last job of
 *             stream i that precedes its next one. Events carry clocks, `host_clock` is what the
 *             program has waited for. A hazard is a use that host_clock does not cover yet.
 *   crimes    Each is printed, counted and written into the report; a process with one exits 86.
 *
 * Every function below is called with or without Python's lock, so none but the synchronising ones
 * waits for a job: a job may need that lock.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
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
typedef struct CUevent_st Event;
typedef struct CUctx_st Context;

typedef struct Memory {
  struct Memory *next;
  CUdeviceptr device; /* 0: page-locked and not mapped into the device */
  char *host, *back;  /* host NULL: device memory */
  char *whole;        /* the mapping that back lies in, guard pages included */
  size_t size, mapped;
  unsigned flags, number;
  int rights;
  bool freed;
} Memory;

typedef struct { Memory *memory; size_t from, to; char mode; int stream; uint64_t job; } Use;

typedef struct Job {
  struct Job *next;
  void (*run)(struct Job *);
  Clock need;
  uint64_t number;
  bool launch;
  char *to, *from; /* copy and set: rows of `width` bytes */
  size_t to_pitch, from_pitch, width, height;
  unsigned value, unit;
  Event *event;
  void (*call)(void *); /* of host_cuda_enqueue */
  void *argument;
  void (*kernel)(const void *, size_t, const unsigned *, const unsigned *);
  size_t size;
  unsigned grid[3], block[3];
  uint64_t parameters[512];
} Job;

struct CUstream_st { int index; bool alive, blocking; pthread_t thread; Job *first, *last; Clock clock; uint64_t issued; };
struct CUevent_st { Event *next; bool alive, timed, recorded; int stream; uint64_t job; Clock clock; struct timespec time; };
struct CUctx_st { unsigned references, epoch; bool primary; };
struct CUmod_st { void *library; bool alive; };
struct CUfunc_st { CUmodule module; void *kernel; const char *access; };
typedef struct Stack { struct Stack *next; int depth; long thread; struct { Context *context; unsigned epoch; } at[DEPTH]; } Stack;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_key_t stack_key;
static pid_t owner; /* 0 before cuInit; a forked child is not watched */
static Context primary = {.primary = true};
static Stream streams[STREAMS]; /* 0 is the default stream */
static Clock done, host_clock;
static Use hazards[HAZARDS];
static int hazard_count;
static Memory *memories;
static Event *events;
static Stack *stacks;
static char *arena;
static size_t arena_used, in_use, peak, allocations, launches, copies;
static unsigned live_modules, numbers, crimes, delay_us;
static bool stopping;
static CUresult sticky; /* after a failed launch every call answers this, as on a device */
static char crime_text[8192];
static struct sigaction earlier_segv;

/* ---- reporting ---- */

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
  const char *path = getenv("OUTRIDER_HOST_CUDA_REPORT");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "{\"crimes\": [%s], \"allocations\": %zu, \"bytes_in_use\": %zu, \"peak_bytes\": %zu, \"launches\": %zu, \"copies\": %zu}\n",
          crime_text, allocations, in_use, peak, launches, copies);
  fclose(file);
}

static const char *kind(const Memory *m) { return m->host ? "page-locked buffer" : "device memory"; }

static const char *setting(const char *name, const char *otherwise) {
  char full[64];
  snprintf(full, sizeof full, "OUTRIDER_HOST_CUDA_%s", name);
  const char *value = getenv(full);
  return value && *value ? value : otherwise;
}

/* The failure that OUTRIDER_HOST_CUDA_FAIL=CLASS:CODE[:N] plans for this call, else success. */
static CUresult planned(const char *class) {
  static int seen;
  char wanted[16];
  int code, from = 1;
  if (sscanf(setting("FAIL", ""), "%15[a-z]:%d:%d", wanted, &code, &from) < 2 || strcmp(wanted, class)) return CUDA_SUCCESS;
  return ++seen >= from ? (CUresult)code : CUDA_SUCCESS;
}

/* ---- clocks and hazards (all under the lock) ---- */

static bool reached(const Clock have, const Clock want) {
  for (int i = 0; i < STREAMS; i++)
    if (have[i] < want[i]) return false;
  return true;
}

static void merge(Clock into, const Clock from) {
  for (int i = 0; i < STREAMS; i++)
    if (into[i] < from[i]) into[i] = from[i];
}

/* The program may touch a page-locked buffer as far as no unfinished use forbids it. */
static void protect(Memory *m) {
  if (!m->host || m->freed) return;
  int rights = PROT_READ | PROT_WRITE;
  for (int i = 0; i < hazard_count; i++)
    if (hazards[i].memory == m) rights &= hazards[i].mode == 'w' ? PROT_NONE : PROT_READ;
  if (rights != m->rights) mprotect(m->host, m->mapped, m->rights = rights);
}

static void host_waited_for(const Clock clock) {
  merge(host_clock, clock);
  for (int i = 0; i < hazard_count;) {
    Use over = hazards[i];
    if (over.job > host_clock[over.stream]) { i++; continue; }
    hazards[i] = hazards[--hazard_count];
    protect(over.memory);
  }
}

static void wait_for(const Clock clock) {
  while (!reached(done, clock)) pthread_cond_wait(&changed, &lock);
  host_waited_for(clock);
}

static void everything(Clock clock) {
  for (int i = 0; i < STREAMS; i++) clock[i] = streams[i].issued;
}

static const Use *pending(const Memory *m) {
  for (int i = 0; i < hazard_count; i++)
    if (hazards[i].memory == m) return &hazards[i];
  return NULL;
}

static void use(Stream *s, Use u) {
  for (int i = 0; i < hazard_count; i++) {
    const Use *h = &hazards[i];
    bool apart = h->memory != u.memory || h->to <= u.from || u.to <= h->from;
    if (!apart && (h->mode == 'w' || u.mode == 'w') && h->job > s->clock[h->stream])
      crime("stream %d uses %s %u while stream %d still %s it: no event or synchronisation between", s->index,
            kind(u.memory), u.memory->number, h->stream, h->mode == 'w' ? "writes" : "reads");
  }
  u.stream = s->index, u.job = s->issued;
  int at = 0;
  while (at < hazard_count && (hazards[at].memory != u.memory || hazards[at].from != u.from || hazards[at].to != u.to ||
                               hazards[at].mode != u.mode || hazards[at].stream != u.stream)) at++;
  if (at == HAZARDS) fprintf(stderr, "host cuda: too many uses without any synchronisation\n"), abort();
  if (at == hazard_count) hazard_count++;
  hazards[at] = u;
  protect(u.memory);
}

/* ---- memory ---- */

static Memory *device_range(CUdeviceptr at, size_t size, const char *what) {
  Memory *near = NULL;
  for (Memory *m = memories; m; m = m->next)
    if (m->device && at >= m->device && at < m->device + m->size) near = m;
  if (near && !near->freed && size <= near->device + near->size - at) return near;
  if (near && near->freed) crime("%s: device memory %u is used after it was freed", what, near->number);
  else if (near) crime("%s: %zu bytes at byte %llu of %s %u, which has %zu", what, size, at - near->device, kind(near), near->number, near->size);
  else crime("%s: %#llx is no device address", what, at);
  return NULL;
}

static Memory *host_range(const void *at, size_t size) {
  const char *p = at;
  for (Memory *m = memories; m; m = m->next)
    if (m->host && !m->freed && p >= m->host && p < m->host + m->size && size <= (size_t)(m->host + m->size - p)) return m;
  return NULL;
}

static char *guarded(Memory *m, int file) {
  m->mapped = (m->size + PAGE - 1) / PAGE * PAGE;
  m->whole = mmap(NULL, m->mapped + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (m->whole == MAP_FAILED) return NULL;
  int kind = MAP_FIXED | (file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
  return mmap(m->whole + PAGE, m->mapped, PROT_READ | PROT_WRITE, kind, file, 0);
}

static CUdeviceptr addresses(size_t size) {
  CUdeviceptr at = (CUdeviceptr)(arena + arena_used);
  arena_used += (size + 2 * PAGE + 65535) / 65536 * 65536;
  if (arena_used > ARENA) fprintf(stderr, "host cuda: out of addresses\n"), abort();
  return at;
}

static size_t total_bytes(void) { return (size_t)atoi(setting("MEMORY_MB", "7620")) << 20; }

static CUresult allocate(Memory **result, size_t size, bool locked, unsigned flags) {
  CUresult failure = planned(locked ? "pinned" : "alloc");
  if (failure) return failure;
  if (!size) return CUDA_ERROR_INVALID_VALUE;
  if (in_use + size > total_bytes()) return CUDA_ERROR_OUT_OF_MEMORY;
  Memory *m = calloc(1, sizeof *m);
  *m = (Memory){.next = memories, .size = size, .flags = flags, .number = ++numbers, .rights = PROT_READ | PROT_WRITE};
  if (locked) {
    int file = memfd_create("page-locked", 0);
    if (file < 0 || ftruncate(file, (size + PAGE - 1) / PAGE * PAGE)) return CUDA_ERROR_OUT_OF_MEMORY;
    m->back = guarded(m, file);
    m->host = mmap(NULL, m->mapped, m->rights, MAP_SHARED, file, 0);
    close(file);
    if (flags & CU_MEMHOSTALLOC_DEVICEMAP) m->device = addresses(size);
  } else {
    char *pages = guarded(m, -1);
    m->back = pages + ((m->mapped - size) & ~(size_t)255); /* the end close to the guard page */
    m->device = addresses(size);
    memset(m->back, 0xCD, size < 1 << 24 ? size : 1 << 24); /* memory is not zero to begin with */
  }
  in_use += size, allocations++;
  if (peak < in_use) peak = in_use;
  *result = memories = m;
  return CUDA_SUCCESS;
}

static CUresult release(Memory *m, const char *what, const void *address) {
  if (!m || m->freed) {
    if (m) crime("%s: %s %u is freed twice", what, kind(m), m->number);
    else crime("%s: %p was never allocated", what, address);
    return CUDA_ERROR_INVALID_VALUE;
  }
  const Use *h = pending(m);
  if (h && !sticky) crime("%s: %s %u is freed while stream %d may still use it: not synchronised", what, kind(m), m->number, h->stream);
  m->freed = true, in_use -= m->size;
  if (m->host) mmap(m->host, m->mapped, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!h) munmap(m->whole, m->mapped + 2 * PAGE);
  return sticky;
}

static void on_segv(int signal, siginfo_t *info, void *unused) {
  (void)signal, (void)unused;
  char *at = info->si_addr;
  if (arena && at >= arena && at < arena + ARENA) crime("the program touches device address %p", at);
  for (Memory *m = memories; m; m = m->next) {
    if (m->host && at >= m->host && at < m->host + m->mapped) {
      const Use *h = pending(m);
      if (m->freed) crime("page-locked buffer %u is used after it was freed", m->number);
      else if (h) crime("the program touches page-locked buffer %u before stream %d, which %s it, is synchronised", m->number, h->stream, h->mode == 'w' ? "writes" : "reads");
    }
    if (!m->freed && at >= m->whole && at < m->whole + m->mapped + 2 * PAGE) crime("a kernel leaves %s %u", kind(m), m->number);
  }
  report();
  sigaction(SIGSEGV, &earlier_segv, NULL); /* the access repeats and ends the process, with Python's traceback if asked */
}

/* ---- streams ---- */

static void run_copy(Job *job) {
  for (size_t row = 0; row < job->height; row++) memcpy(job->to + row * job->to_pitch, job->from + row * job->from_pitch, job->width);
}

static void run_set(Job *job) {
  for (size_t i = 0; i < job->width; i += job->unit) memcpy(job->to + i, &job->value, job->unit);
}

static void run_event(Job *job) { clock_gettime(CLOCK_MONOTONIC, &job->event->time); }
static void run_kernel(Job *job) { job->kernel(job->parameters, job->size, job->grid, job->block); }
static void run_call(Job *job) { job->call(job->argument); }

static void *worker(void *stream) {
  Stream *s = stream;
  unsigned seed = s->index;
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
  for (int i = 0; i < STREAMS; i++) {
    Stream *s = &streams[i];
    if (s->alive) continue;
    if (!s->thread) {
      sigset_t all, before; /* a worker takes none of the program's signals but its own faults */
      sigfillset(&all), sigdelset(&all, SIGSEGV);
      pthread_sigmask(SIG_SETMASK, &all, &before);
      if (pthread_create(&s->thread, NULL, worker, s)) return NULL;
      pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    s->index = i, s->alive = true, s->blocking = !(flags & CU_STREAM_NON_BLOCKING);
    merge(s->clock, host_clock);
    return s;
  }
  return NULL;
}

static CUresult enqueue(Stream *s, Job wanted, int count, const Use *uses) {
  Job *job = malloc(sizeof *job);
  *job = wanted, job->next = NULL;
  /* The default stream waits for all streams but the non-blocking ones, and they for it. */
  for (int i = 1; s == streams && i < STREAMS; i++)
    if (streams[i].blocking) merge(s->clock, streams[i].clock), s->clock[i] = streams[i].issued;
  if (s != streams && s->blocking) s->clock[0] = streams[0].issued;
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

/* ---- entering a call ---- */

static Stack *stack(void) {
  Stack *s = pthread_getspecific(stack_key);
  if (s) return s;
  s = calloc(1, sizeof *s);
  s->next = stacks, s->thread = gettid();
  pthread_setspecific(stack_key, s);
  return stacks = s;
}

static Context *current(void) {
  Stack *s = stack();
  if (!s->depth || !s->at[s->depth - 1].context->references) return NULL;
  return s->at[s->depth - 1].epoch == s->at[s->depth - 1].context->epoch ? s->at[s->depth - 1].context : NULL;
}

/* A context that was destroyed meanwhile does not count: PyCUDA's detach() leaves it there. */
static void left_on(const Stack *s) {
  for (int i = 0; i < s->depth; i++)
    if (s->at[i].context->references && s->at[i].epoch == s->at[i].context->epoch)
      crime("a context is left on the stack of thread %ld", s->thread);
}

static void thread_ends(void *ended) {
  pthread_mutex_lock(&lock);
  Stack *s = ended, **link = &stacks;
  left_on(s);
  while (*link != s) link = &(*link)->next;
  *link = s->next;
  free(s);
  pthread_mutex_unlock(&lock);
}

static CUresult enter(const char *name, bool needs_context) {
  pthread_mutex_lock(&lock);
  if (!owner) return CUDA_ERROR_NOT_INITIALIZED;
  if (sticky) return sticky;
  if (!needs_context || current()) return CUDA_SUCCESS;
  crime("%s: called from a thread without a context", name);
  return CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult leave(CUresult result) {
  pthread_mutex_unlock(&lock);
  return result;
}

#define ENTER(needs_context) \
  do { CUresult entered = enter(__func__, needs_context); if (entered) return leave(entered); } while (0)
/* Cleaning up works on a failed device too, so that what was left is what the program left. */
#define ENTER_CLEANUP() \
  do { CUresult entered = enter(__func__, true); if (entered && entered != sticky) return leave(entered); } while (0)
#define STREAM(s) \
  do { if (!(s)) (s) = streams; if (!(s)->alive) { crime("%s: stream is used after it was destroyed", __func__); return leave(CUDA_ERROR_INVALID_HANDLE); } } while (0)
#define EVENT(e) \
  do { if (!(e)->alive) { crime("%s: event is used after it was destroyed", __func__); return leave(CUDA_ERROR_INVALID_HANDLE); } } while (0)

static void leaks(const char *when) {
  if (sticky) return;
  for (Memory *m = memories; m; m = m->next)
    if (!m->freed) {
      crime("%s %u of %zu bytes is leaked: not freed %s", kind(m), m->number, m->size, when);
      m->freed = true, in_use -= m->size;
    }
  unsigned open = 0;
  for (int i = 1; i < STREAMS; i++) {
    if (streams[i].alive && streams[i].issued > host_clock[i]) crime("stream %d is not synchronised %s", i, when);
    open += streams[i].alive, streams[i].alive = false;
  }
  if (open) crime("%u streams are leaked: not destroyed %s", open, when);
  open = 0;
  for (Event *e = events; e; e = e->next) open += e->alive, e->alive = false;
  if (open) crime("%u events are leaked: not destroyed %s", open, when);
  if (live_modules) crime("%u modules are leaked: not unloaded %s", live_modules, when);
  live_modules = 0;
}

static void at_the_end(void) {
  if (getpid() != owner) return;
  pthread_mutex_lock(&lock);
  for (Stack *s = stacks; s; s = s->next) left_on(s);
  if (primary.references && !sticky) crime("the primary context is never released");
  leaks("at exit");
  stopping = true;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += STOP_SECONDS;
  for (int i = 0; i < STREAMS; i++)
    if (streams[i].thread && pthread_timedjoin_np(streams[i].thread, NULL, &until)) crime("stream %d is still running at exit", i);
  report();
  if (!crimes) return;
  fprintf(stderr, "host cuda: %u crimes, exit %d\n", crimes, CRIME_EXIT);
  fflush(NULL);
  _exit(CRIME_EXIT);
}

/* ---- the driver's calls: device and context ---- */

CUresult cuInit(unsigned flags) {
  pthread_mutex_lock(&lock);
  CUresult failure = flags ? CUDA_ERROR_INVALID_VALUE : planned("init");
  if (failure || owner) return leave(failure);
  arena = mmap(NULL, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) return leave(CUDA_ERROR_OUT_OF_MEMORY);
  owner = getpid(), delay_us = atoi(setting("DELAY_US", "0"));
  pthread_key_create(&stack_key, thread_ends);
  open_stream(0);
  struct sigaction ours = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &ours, &earlier_segv);
  atexit(at_the_end); /* after Python's own end, before PyCUDA's static objects end */
  return leave(CUDA_SUCCESS);
}

CUresult cuDriverGetVersion(int *version) { return *version = atoi(setting("DRIVER", "12060")), CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *count) { ENTER(false); return *count = 1, leave(CUDA_SUCCESS); }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  ENTER(false);
  return *device = 0, leave(ordinal ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}
CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
  ENTER(false);
  snprintf(name, size, "%s", setting("NAME", "Orin"));
  return leave(device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}
CUresult cuDeviceGetPCIBusId(char *text, int size, CUdevice device) {
  ENTER(false);
  snprintf(text, size, "0000:00:00.0");
  return leave(device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
  ENTER(false);
  sscanf(setting("CC", "8.7"), "%d.%d", major, minor);
  return leave(device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}
CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) {
  ENTER(false);
  return *bytes = total_bytes(), leave(device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}
CUresult cuMemGetInfo(size_t *left, size_t *total) {
  ENTER(true);
  return *total = total_bytes(), *left = *total - in_use, leave(CUDA_SUCCESS);
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  ENTER(false);
  int major = 0, minor = 0;
  sscanf(setting("CC", "8.7"), "%d.%d", &major, &minor);
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = minor; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = atoi(setting("SMS", "8")); break;
    case CU_DEVICE_ATTRIBUTE_INTEGRATED: *value = atoi(setting("INTEGRATED", "1")); break;
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *value = 2; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = INT32_MAX; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: *value = 65535; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 918000; break; /* kHz */
    default: *value = 0;
  }
  return leave(device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}

static CUresult push(Context *context) {
  Stack *s = stack();
  if (!context || !context->references) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (s->depth == DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
  s->at[s->depth].context = context, s->at[s->depth++].epoch = context->epoch;
  return CUDA_SUCCESS;
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
  if (!--primary.references) leaks("before the primary context was released"), primary.epoch++;
  return leave(CUDA_SUCCESS);
}

#if CUDA_VERSION >= 13000
CUresult cuCtxCreate(CUcontext *context, CUctxCreateParams *unused, unsigned flags, CUdevice device) {
  (void)unused;
#else
CUresult cuCtxCreate(CUcontext *context, unsigned flags, CUdevice device) {
#endif
  ENTER(false);
  if (device || flags & ~CU_CTX_FLAGS_MASK) return leave(CUDA_ERROR_INVALID_VALUE);
  *context = calloc(1, sizeof **context); /* kept: a stack may still name it */
  (*context)->references = 1;
  return leave(push(*context));
}

CUresult cuCtxDetach(CUcontext context) {
  pthread_mutex_lock(&lock);
  if (context->primary) {
    /* PyCUDA's destructor does this; only its detach() knows the right call. */
    crime("the primary context is given to cuCtxDetach: call detach() on the thread that retained it");
    return leave(CUDA_ERROR_INVALID_CONTEXT);
  }
  Stack *s = stack();
  if (!--context->references) leaks("before its context was destroyed");
  if (s->depth && s->at[s->depth - 1].context == context) s->depth--;
  return leave(CUDA_SUCCESS);
}

CUresult cuCtxPushCurrent(CUcontext context) {
  pthread_mutex_lock(&lock);
  return leave(owner ? push(context) : CUDA_ERROR_NOT_INITIALIZED);
}

CUresult cuCtxPopCurrent(CUcontext *context) {
  pthread_mutex_lock(&lock);
  Stack *s = owner ? stack() : NULL;
  if (!s || !s->depth) {
    crime("a context is popped from the empty stack of a thread");
    return leave(CUDA_ERROR_INVALID_CONTEXT);
  }
  Context *popped = s->at[--s->depth].context;
  if (context) *context = popped;
  return leave(CUDA_SUCCESS);
}

CUresult cuCtxGetCurrent(CUcontext *context) { ENTER(false); return *context = current(), leave(CUDA_SUCCESS); }
CUresult cuCtxGetDevice(CUdevice *device) { ENTER(true); return *device = 0, leave(CUDA_SUCCESS); }
CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version) { (void)context; ENTER(false); return *version = 3020, leave(CUDA_SUCCESS); }

CUresult cuCtxSynchronize(void) {
  ENTER(true);
  Clock all;
  everything(all);
  wait_for(all);
  return leave(sticky);
}

/* ---- memory ---- */

CUresult cuMemAlloc(CUdeviceptr *at, size_t size) {
  ENTER(true);
  Memory *m;
  CUresult result = allocate(&m, size, false, 0);
  if (!result) *at = m->device;
  return leave(result);
}

CUresult cuMemHostAlloc(void **at, size_t size, unsigned flags) {
  ENTER(true);
  Memory *m;
  CUresult result = allocate(&m, size, true, flags);
  if (!result) *at = m->host;
  return leave(result);
}

CUresult cuMemFree(CUdeviceptr at) {
  ENTER_CLEANUP();
  Memory *m = memories;
  while (m && (m->device != at || m->host)) m = m->next;
  return leave(release(m, __func__, (void *)at));
}

CUresult cuMemFreeHost(void *at) {
  ENTER_CLEANUP();
  Memory *m = memories;
  while (m && m->host != at) m = m->next;
  return leave(release(m, __func__, at));
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *at, void *host, unsigned flags) {
  ENTER(true);
  Memory *m = host_range(host, 1);
  if (flags || !m || !m->device) return leave(CUDA_ERROR_INVALID_VALUE);
  return *at = m->device + ((char *)host - m->host), leave(CUDA_SUCCESS);
}

CUresult cuMemHostGetFlags(unsigned *flags, void *host) {
  ENTER(true);
  Memory *m = host_range(host, 1);
  return m ? *flags = m->flags, leave(CUDA_SUCCESS) : leave(CUDA_ERROR_INVALID_VALUE);
}

/* One side of a copy: where its bytes lie and, unless it is the program's own memory, its use. */
static bool side(bool device, CUdeviceptr at, size_t size, char mode, bool async, const char *what, char **bytes, Use *u) {
  Memory *m = device ? device_range(at, size, what) : host_range((void *)at, size);
  if (device && !m) return false;
  size_t from = !m ? 0 : device ? at - m->device : at - (CUdeviceptr)m->host;
  *u = (Use){.memory = m, .from = from, .to = from + size, .mode = mode};
  *bytes = m ? m->back + from : (char *)at;
  if (!m && (char *)at >= arena && (char *)at < arena + ARENA) return crime("%s: a device address stands where host memory is wanted", what), false;
  if (!m && async) crime("%s: asynchronous copy of memory that is not page-locked", what);
  return true;
}

/* Copies `height` rows; on NULL it is synchronous, as the calls without a stream are. */
static CUresult copy(const char *what, bool to_device, CUdeviceptr to, size_t to_pitch, bool from_device, CUdeviceptr from,
                     size_t from_pitch, size_t width, size_t height, bool async, Stream *s) {
  Job job = {.run = run_copy, .to_pitch = to_pitch, .from_pitch = from_pitch, .width = width, .height = height};
  Use uses[2];
  if (!width || !height) return CUDA_SUCCESS;
  if (!side(from_device, from, from_pitch * (height - 1) + width, 'r', async, what, &job.from, &uses[0]) ||
      !side(to_device, to, to_pitch * (height - 1) + width, 'w', async, what, &job.to, &uses[1]))
    return CUDA_ERROR_INVALID_VALUE;
  copies++;
  enqueue(s, job, 2, uses);
  /* With pageable memory it has to be over when the call returns: nothing else holds the bytes. */
  if (!async || !uses[0].memory || !uses[1].memory) wait_for(s->clock);
  return sticky;
}

static CUresult set(const char *what, CUdeviceptr at, unsigned value, unsigned unit, size_t count, bool async, Stream *s) {
  Job job = {.run = run_set, .value = value, .unit = unit, .width = count * unit};
  Use u;
  if (!count) return CUDA_SUCCESS;
  if (!side(true, at, job.width, 'w', false, what, &job.to, &u)) return CUDA_ERROR_INVALID_VALUE;
  enqueue(s, job, 1, &u);
  if (!async) wait_for(s->clock);
  return sticky;
}

#define COPY(name, to_type, to_device, from_type, from_device) \
  CUresult name(to_type to, from_type from, size_t size) { \
    ENTER(true); \
    return leave(copy(__func__, to_device, (CUdeviceptr)to, 0, from_device, (CUdeviceptr)from, 0, size, 1, false, streams)); \
  }
#define COPY_ASYNC(name, to_type, to_device, from_type, from_device) \
  CUresult name(to_type to, from_type from, size_t size, CUstream s) { \
    ENTER(true); \
    STREAM(s); \
    return leave(copy(__func__, to_device, (CUdeviceptr)to, 0, from_device, (CUdeviceptr)from, 0, size, 1, true, s)); \
  }
#define SET(name, type, async_name) \
  CUresult name(CUdeviceptr at, type value, size_t count) { \
    ENTER(true); \
    return leave(set(__func__, at, value, sizeof value, count, false, streams)); \
  } \
  CUresult async_name(CUdeviceptr at, type value, size_t count, CUstream s) { \
    ENTER(true); \
    STREAM(s); \
    return leave(set(__func__, at, value, sizeof value, count, true, s)); \
  }
COPY(cuMemcpyHtoD, CUdeviceptr, true, const void *, false)
COPY(cuMemcpyDtoH, void *, false, CUdeviceptr, true)
COPY(cuMemcpyDtoD, CUdeviceptr, true, CUdeviceptr, true)
COPY_ASYNC(cuMemcpyHtoDAsync, CUdeviceptr, true, const void *, false)
COPY_ASYNC(cuMemcpyDtoHAsync, void *, false, CUdeviceptr, true)
COPY_ASYNC(cuMemcpyDtoDAsync, CUdeviceptr, true, CUdeviceptr, true)
SET(cuMemsetD8, unsigned char, cuMemsetD8Async)
SET(cuMemsetD16, unsigned short, cuMemsetD16Async)
SET(cuMemsetD32, unsigned, cuMemsetD32Async)

static CUresult copy_2d(const char *what, const CUDA_MEMCPY2D *c, bool async, Stream *s) {
  bool to_device = c->dstMemoryType == CU_MEMORYTYPE_DEVICE, from_device = c->srcMemoryType == CU_MEMORYTYPE_DEVICE;
  if ((!to_device && c->dstMemoryType != CU_MEMORYTYPE_HOST) || (!from_device && c->srcMemoryType != CU_MEMORYTYPE_HOST)) return CUDA_ERROR_NOT_SUPPORTED;
  size_t to_pitch = c->dstPitch ? c->dstPitch : c->WidthInBytes, from_pitch = c->srcPitch ? c->srcPitch : c->WidthInBytes;
  return copy(what, to_device, (to_device ? c->dstDevice : (CUdeviceptr)c->dstHost) + c->dstY * to_pitch + c->dstXInBytes, to_pitch,
              from_device, (from_device ? c->srcDevice : (CUdeviceptr)c->srcHost) + c->srcY * from_pitch + c->srcXInBytes, from_pitch,
              c->WidthInBytes, c->Height, async, s);
}
CUresult cuMemcpy2D(const CUDA_MEMCPY2D *c) { ENTER(true); return leave(copy_2d(__func__, c, false, streams)); }
CUresult cuMemcpy2DUnaligned(const CUDA_MEMCPY2D *c) { ENTER(true); return leave(copy_2d(__func__, c, false, streams)); }
CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *c, CUstream s) { ENTER(true); STREAM(s); return leave(copy_2d(__func__, c, true, s)); }

/* ---- streams and events ---- */

CUresult cuStreamCreate(CUstream *result, unsigned flags) {
  ENTER(true);
  return leave((*result = open_stream(flags)) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult cuStreamDestroy(CUstream s) {
  ENTER_CLEANUP();
  STREAM(s);
  if (!sticky && s->issued > host_clock[s->index]) crime("stream %d is destroyed before it is synchronised", s->index);
  return s->alive = false, leave(sticky);
}

CUresult cuStreamSynchronize(CUstream s) {
  ENTER(true);
  STREAM(s);
  Clock until;
  memcpy(until, s->clock, sizeof until);
  wait_for(until);
  return leave(sticky);
}

CUresult cuStreamQuery(CUstream s) {
  ENTER(true);
  STREAM(s);
  if (!reached(done, s->clock)) return leave(CUDA_ERROR_NOT_READY);
  return host_waited_for(s->clock), leave(CUDA_SUCCESS);
}

CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags) {
  ENTER(true);
  STREAM(s);
  EVENT(e);
  return merge(s->clock, e->clock), leave(flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuEventCreate(CUevent *result, unsigned flags) {
  ENTER(true);
  Event *e = calloc(1, sizeof *e); /* kept: a job may still name it */
  e->next = events, e->alive = true, e->timed = !(flags & CU_EVENT_DISABLE_TIMING);
  return *result = events = e, leave(CUDA_SUCCESS);
}

CUresult cuEventDestroy(CUevent e) {
  ENTER_CLEANUP();
  EVENT(e);
  return e->alive = false, leave(sticky);
}

CUresult cuEventRecord(CUevent e, CUstream s) {
  ENTER(true);
  STREAM(s);
  EVENT(e);
  enqueue(s, (Job){.run = run_event, .event = e}, 0, NULL);
  memcpy(e->clock, s->clock, sizeof e->clock);
  return e->recorded = true, leave(CUDA_SUCCESS);
}

CUresult cuEventSynchronize(CUevent e) {
  ENTER(true);
  EVENT(e);
  Clock until;
  memcpy(until, e->clock, sizeof until);
  wait_for(until);
  return leave(sticky);
}

CUresult cuEventQuery(CUevent e) {
  ENTER(true);
  EVENT(e);
  if (!reached(done, e->clock)) return leave(CUDA_ERROR_NOT_READY);
  return host_waited_for(e->clock), leave(CUDA_SUCCESS);
}

CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
  ENTER(true);
  EVENT(start);
  EVENT(end);
  if (!start->timed || !end->timed || !start->recorded || !end->recorded) return leave(CUDA_ERROR_INVALID_HANDLE);
  if (!reached(done, start->clock) || !reached(done, end->clock)) return leave(CUDA_ERROR_NOT_READY);
  *ms = (end->time.tv_sec - start->time.tv_sec) * 1e3f + (end->time.tv_nsec - start->time.tv_nsec) / 1e6f;
  return leave(CUDA_SUCCESS);
}

/* ---- modules: a real fatbin or cubin is asked for, the library OUTRIDER_HOST_CUDA_KERNELS runs ---- */

static CUresult load(CUmodule *result, const void *image) {
  const unsigned fatbin = 0xBA55ED50;
  CUresult failure = planned("load");
  if (failure) return failure;
  if (memcmp(image, &fatbin, sizeof fatbin) && memcmp(image, ELFMAG, SELFMAG)) return CUDA_ERROR_INVALID_IMAGE;
  void *library = dlopen(setting("KERNELS", "no library is named"), RTLD_NOW);
  if (!library) return fprintf(stderr, "host cuda: OUTRIDER_HOST_CUDA_KERNELS: %s\n", dlerror()), CUDA_ERROR_NO_BINARY_FOR_GPU;
  *result = calloc(1, sizeof **result); /* kept: a function may still name it */
  (*result)->library = library, (*result)->alive = true, live_modules++;
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule *result, const void *image, unsigned count, CUjit_option *options, void **values) {
  ENTER(true);
  for (unsigned i = 0; i < count; i++) /* nothing is written into the logs */
    if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) values[i] = NULL;
    else if (options[i] == CU_JIT_ERROR_LOG_BUFFER) *(char *)values[i] = '\0';
  return leave(load(result, image));
}

CUresult cuModuleUnload(CUmodule module) {
  ENTER_CLEANUP();
  if (!module->alive) return crime("%s: module is unloaded twice", __func__), leave(CUDA_ERROR_INVALID_HANDLE);
  module->alive = false, live_modules--;
  return leave(sticky); /* the library stays open: a job may still run in it */
}

CUresult cuModuleGetFunction(CUfunction *result, CUmodule module, const char *name) {
  ENTER(true);
  char symbol[256];
  snprintf(symbol, sizeof symbol, "host_%s", name);
  void *kernel = module->alive ? dlsym(module->library, symbol) : NULL;
  if (!kernel) return leave(CUDA_ERROR_NOT_FOUND);
  CUfunction f = calloc(1, sizeof *f);
  snprintf(symbol, sizeof symbol, "host_%s_access", name);
  f->module = module, f->kernel = kernel, f->access = dlsym(module->library, symbol);
  return *result = f, leave(CUDA_SUCCESS);
}

CUresult cuFuncSetBlockShape(CUfunction f, int x, int y, int z) { /* PyCUDA's prepared calls say it twice */
  return f->module->alive && x > 0 && y > 0 && z > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* The parameters come as one buffer (`extra`), as PyCUDA passes them; device addresses among them
 * become addresses of their bytes, each a use of the rest of its memory. */
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream s, void **parameters, void **extra) {
  ENTER(true);
  STREAM(s);
  if (!f->module->alive) return crime("%s: kernel of an unloaded module", __func__), leave(CUDA_ERROR_INVALID_HANDLE);
  if (parameters || !extra || extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER || extra[2] != CU_LAUNCH_PARAM_BUFFER_SIZE) return leave(CUDA_ERROR_NOT_SUPPORTED);
  size_t size = *(size_t *)extra[3], pointers = 0;
  if (!gx || !gy || !gz || !bx || !by || !bz || (size_t)bx * by * bz > 1024 || shared > 49152) return leave(CUDA_ERROR_INVALID_VALUE);
  Job job = {.run = run_kernel, .launch = true, .kernel = f->kernel, .size = size, .grid = {gx, gy, gz}, .block = {bx, by, bz}};
  if (size > sizeof job.parameters) return leave(CUDA_ERROR_INVALID_VALUE);
  memcpy(job.parameters, extra[1], size);
  Use uses[16] = {0};
  for (size_t i = 0; i < size / 8 && pointers < 16; i++) {
    CUdeviceptr at = job.parameters[i];
    if (at < (CUdeviceptr)arena || at >= (CUdeviceptr)arena + ARENA) continue;
    Memory *m = device_range(at, 1, __func__);
    if (!m) return leave(CUDA_ERROR_ILLEGAL_ADDRESS);
    char mode = f->access && pointers < strlen(f->access) ? f->access[pointers] : 'w';
    uses[pointers++] = (Use){.memory = m, .from = at - m->device, .to = m->size, .mode = mode};
    job.parameters[i] = (uint64_t)(m->back + (at - m->device));
  }
  return leave(enqueue(s, job, pointers, uses));
}

/* ---- for the TensorRT double: work of its own on a stream ---- */

CUresult host_cuda_enqueue(CUstream s, void (*call)(void *), void *argument, int count, const uint64_t *at,
                           const uint64_t *sizes, const char *modes) {
  ENTER(true);
  STREAM(s);
  Use uses[64];
  char *bytes;
  if (count > 64) return leave(CUDA_ERROR_INVALID_VALUE);
  for (int i = 0; i < count; i++)
    if (!side(true, at[i], sizes[i], modes[i], false, __func__, &bytes, &uses[i])) return leave(CUDA_ERROR_ILLEGAL_ADDRESS);
  return leave(enqueue(s, (Job){.run = run_call, .launch = true, .call = call, .argument = argument}, count, uses));
}

/* Where the bytes of a device range lie, for the call that runs on a stream; NULL is a crime. */
void *host_cuda_open(uint64_t at, uint64_t size) {
  pthread_mutex_lock(&lock);
  Memory *m = device_range(at, size, __func__);
  pthread_mutex_unlock(&lock);
  return m ? m->back + (at - m->device) : NULL;
}

unsigned host_cuda_crimes(void) { return crimes; }

/* Stands behind every name that PyCUDA links and nothing above defines. */
CUresult host_cuda_missing(const char *name) {
  crime("%s is not part of the driver for tests", name);
  return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  static const struct { CUresult error; const char *text; } texts[] = {
      {CUDA_SUCCESS, "no error"}, {CUDA_ERROR_INVALID_VALUE, "invalid argument"},
      {CUDA_ERROR_OUT_OF_MEMORY, "out of memory"}, {CUDA_ERROR_NOT_INITIALIZED, "initialization error"},
      {CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"},
      {CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable"},
      {CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"}, {CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"},
      {CUDA_ERROR_INVALID_CONTEXT, "invalid device context"},
      {CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"},
      {CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"},
      {CUDA_ERROR_FILE_NOT_FOUND, "file not found"}, {CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported on this OS"},
      {CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"}, {CUDA_ERROR_NOT_FOUND, "named symbol not found"},
      {CUDA_ERROR_NOT_READY, "device not ready"}, {CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"},
      {CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"}, {CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"},
      {CUDA_ERROR_NOT_SUPPORTED, "operation not supported"}, {CUDA_ERROR_UNKNOWN, "unknown error"}};
  *text = "unrecognized error code";
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (texts[i].error == error) *text = texts[i].text;
  return CUDA_SUCCESS;
}
