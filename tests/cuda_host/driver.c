/* A libcuda.so.1 on host memory for tests: the driver calls that PyCUDA and the app make, and a watch over their
 * misuse. The other names that PyCUDA links are refused.
 *   memory  A device address lies in a range that nothing is mapped to; its bytes lie elsewhere (`back`), between two
 *           guard pages. A page-locked buffer is mapped twice: the program's view loses its rights while work on a
 *           stream may touch the buffer, so a missing synchronisation faults however the timing falls.
 *   order   A stream is a worker thread and a vector clock: clock[i] is the last job of stream i that precedes its next.
 *           Events carry clocks; host_clock is what the program has waited for. A use beyond it is a hazard.
 *   crimes  Each is printed, counted and reported; a process with one exits 86.
 * A job may need Python's lock and most calls come with it, so only those that synchronise wait for a job. */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { STREAMS = 64, HAZARDS = 4096, DEPTH = 32, PAGE = 4096, POINTERS = 64, CRIME_EXIT = 86, STOP_SECONDS = 2 };
static const size_t ARENA = (size_t)1 << 38; /* of addresses only: freed ones never come back */

typedef unsigned long Word; /* 64 bits: a device address, a size or the number of a job */
typedef Word Clock[STREAMS];
typedef struct Memory {
  struct Memory *next;
  char *host, *back, *whole; /* the program's view (NULL: device memory), the device's, that with its guard pages */
  Word device, size, mapped; /* device 0: page-locked and not mapped into the device */
  int number, rights, freed;
} Memory;
typedef struct { Memory *memory; Word from, to; char mode; int stream; Word job; } Use; /* mode 'r' or 'w' */
typedef struct Job {
  struct Job *next;
  void (*run)(struct Job *), (*call)(void *), *argument; /* call: of host_cuda_enqueue */
  Clock need;
  Word number, size, parameters[512];
  char *to, *from, value; /* from: of a copy; value: of a memset */
  CUevent event;
  int launch, (*kernel)(const void *, Word, const unsigned *, const unsigned *);
  unsigned grid[3], block[3];
} Job;
typedef struct CUstream_st { int index, alive, blocking; pthread_t thread; Job *first, *last; Clock clock; Word issued; } Stream;
struct CUevent_st { bool alive, timed, recorded; Clock clock; struct timespec time; };
struct CUmod_st { void *library; bool alive; };
struct CUfunc_st { CUmodule module; void *kernel; const char *access; };
/* The primary context, the only one: how often it came to an end, how often it is on a stack, and from which life on no
 * crime of that kind is told. */
static struct CUctx_st { int references, life, pushed, untold; } primary;
static __thread struct { int depth, life[DEPTH]; } stack;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_key_t thread_key;
static pid_t owner; /* 0 before cuInit; a forked child is not watched */
static Stream streams[STREAMS]; /* 0 is the default stream */
static Clock done, host_clock;
static Use hazards[HAZARDS];
static Memory *memories;
static char *arena, crime_text[8192];
static Word arena_used, in_use, peak, allocations, launches, copies;
static int hazard_count, live_events, live_modules, crimes, stopping;
static CUresult sticky; /* after a failed launch every call answers this, as on a device */
static struct sigaction earlier_segv;

/* ---- settings and reporting ---- */
static const char *setting(const char *name, const char *otherwise) {
  char full[64];
  snprintf(full, sizeof full, "OUTRIDER_HOST_CUDA_%s", name);
  return getenv(full) ? getenv(full) : otherwise;
}

/* The failure that OUTRIDER_HOST_CUDA_FAIL=CLASS:CODE[:N] plans for the N-th call of a class and later ones. */
static CUresult planned(const char *class) {
  static int seen;
  int code, from = 1;
  char wanted[16];
  if (sscanf(setting("FAIL", ""), "%15[a-z]:%d:%d", wanted, &code, &from) < 2 || strcmp(wanted, class)) return 0;
  return ++seen >= from ? (CUresult)code : CUDA_SUCCESS;
}
#define crime(format, ...) ({ \
  size_t used = strlen(crime_text); \
  fprintf(stderr, "host cuda: " format "\n", ##__VA_ARGS__); \
  snprintf(crime_text + used, sizeof crime_text - used, "%s\"" format "\"", crimes++ ? ", " : "", ##__VA_ARGS__); })
static void report(void) {
  FILE *file = fopen(setting("REPORT", "/dev/null"), "w");
  if (!file) return;
  fprintf(file, "{\"crimes\": [%s], \"launches\": %lu, \"copies\": %lu, ", crime_text, launches, copies);
  fprintf(file, "\"allocations\": %lu, \"bytes_in_use\": %lu, \"peak_bytes\": %lu}\n", allocations, in_use, peak);
  fclose(file);
}

/* ---- clocks and hazards (from here on, all but the calls hold the lock) ---- */
#define EACH(i) for (int i = 0; i < STREAMS; i++)
static bool reached(const Clock have, const Clock want) { EACH(i) if (have[i] < want[i]) return false; return true; }
static void merge(Clock into, const Clock from) { EACH(i) if (into[i] < from[i]) into[i] = from[i]; }

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
  Clock clock; memcpy(clock, until, sizeof clock);
  while (!reached(done, clock)) pthread_cond_wait(&changed, &lock);
  return host_waited_for(clock);
}
static CUresult query(const Clock clock) { return reached(done, clock) ? host_waited_for(clock) : CUDA_ERROR_NOT_READY; }
static const Use *pending(const Memory *m) {
  const Use *h = hazards;
  while (h < hazards + hazard_count && h->memory != m) h++;
  return h < hazards + hazard_count ? h : NULL;
}
static const char *kind(const Memory *m) { return m->host ? "page-locked buffer" : "device memory"; }
static const char *does(const Use *u) { return u->mode == 'w' ? "writes" : "reads"; }
static void use(Stream *s, Use u) {
  int same = hazard_count;
  for (int i = 0; i < hazard_count; i++) {
    const Use *h = &hazards[i];
    if (h->memory != u.memory || h->to <= u.from || u.to <= h->from) continue;
    if (h->stream == s->index && h->from == u.from && h->to == u.to && h->mode == u.mode) same = i;
    if ((h->mode == 'w' || u.mode == 'w') && h->job > s->clock[h->stream])
      crime("stream %d uses %s %d while stream %d still %s it: no event or synchronisation between", s->index,
            kind(u.memory), u.memory->number, h->stream, does(h));
  }
  if (same == HAZARDS) fprintf(stderr, "host cuda: too many uses without synchronisation\n"), abort();
  if (same == hazard_count) hazard_count++;
  u.stream = s->index, u.job = s->issued, hazards[same] = u;
  protect(u.memory);
}

/* ---- memory ---- */
static bool is_device(Word at) { return arena && at - (Word)arena < ARENA; }
static Memory *find(bool device, Word at) {
  Memory *m = memories;
  for (Word from; m; m = m->next)
    if ((from = device ? m->device : (Word)m->host) && at - from < m->size) break;
  return m;
}

/* One side of a job: where its bytes lie and, unless it is the program's own memory, its use. */
static bool side(bool device, Word at, Word size, char mode, const char *what, char **bytes, Use *u) {
  Memory *m = find(device, at);
  Word from = m ? at - (device ? m->device : (Word)m->host) : 0;
  *u = (Use){.memory = m, .from = from, .to = from + size, .mode = mode};
  *bytes = m ? m->back + from : (char *)at;
  if (device ? !m : is_device(at)) crime("%s: %#lx is no address of %s memory", what, at, device ? "device" : "host");
  else if (m && m->freed) crime("%s: %s %d is used after it was freed", what, kind(m), m->number);
  else if (m && u->to > m->size) crime("%s: %lu bytes at byte %lu of %s %d of %lu", what, size, from, kind(m), m->number, m->size);
  else return true;
  return false;
}
static size_t total_bytes(void) { return (size_t)atoi(setting("MEMORY_MB", "7620")) << 20; }
static char *nothing(Word size, char *at) { /* addresses that nobody may touch */
  return mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0), -1, 0);
}
static CUresult allocate(CUdeviceptr *device, char **host, Word size, bool on_device) {
  static int numbers;
  CUresult failure = planned(host ? "pinned" : "alloc");
  if (failure || !size) return failure ? failure : CUDA_ERROR_INVALID_VALUE;
  if (in_use + size > total_bytes() || arena_used + size > ARENA) return CUDA_ERROR_OUT_OF_MEMORY;
  Memory *m = calloc(1, sizeof *m);
  *m = (Memory){.next = memories, .size = size, .number = ++numbers, .rights = PROT_READ | PROT_WRITE};
  m->mapped = (size + PAGE - 1) / PAGE * PAGE;
  int file = memfd_create("host cuda", 0);
  m->whole = nothing(m->mapped + 2 * PAGE, NULL);
  if (file < 0 || ftruncate(file, m->mapped) || m->whole == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  m->back = mmap(m->whole + PAGE, m->mapped, m->rights, MAP_FIXED | MAP_SHARED, file, 0);
  if (host) *host = m->host = mmap(NULL, m->mapped, m->rights, MAP_SHARED, file, 0);
  else m->back += (m->mapped - size) & ~(size_t)255; /* the end close to the guard page */
  close(file);
  memset(m->back, 0xCD, size < 1 << 24 ? size : 1 << 24); /* memory is not zero to begin with */
  if (on_device) m->device = (Word)arena + arena_used, arena_used += (size + 2 * PAGE + 65535) / 65536 * 65536;
  in_use += size, allocations++, peak = peak < in_use ? in_use : peak;
  return memories = m, *device = m->device, CUDA_SUCCESS;
}
static void forget(Memory *m) { m->freed = true, in_use -= m->size; }
static CUresult release(bool host, Word at, const char *what) {
  Memory *m = memories;
  while (m && (host ? (Word)m->host != at : m->host || m->device != at)) m = m->next;
  if (!m) return crime("%s: this address was never allocated", what), CUDA_ERROR_INVALID_VALUE;
  if (m->freed) return crime("%s: %s %d is freed twice", what, kind(m), m->number), CUDA_ERROR_INVALID_VALUE;
  const Use *h = sticky ? NULL : pending(m);
  if (h) crime("%s: %s %d is freed while stream %d may still use it", what, kind(m), m->number, h->stream);
  forget(m);
  if (m->host) nothing(m->mapped, m->host);
  if (!pending(m)) munmap(m->whole, m->mapped + 2 * PAGE);
  return sticky;
}

/* A fault of the program ends the process; this says first which rule it broke, if it was one of these. */
static void on_segv(int signal, siginfo_t *info, void *unused) {
  char *at = info->si_addr;
  (void)signal, (void)unused;
  if (is_device((Word)at)) crime("the program touches device address %p", at);
  for (Memory *m = memories; m; m = m->next) {
    const Use *h = pending(m);
    if (!m->freed && (size_t)(at - m->whole) < m->mapped + 2 * PAGE) crime("a kernel leaves %s %d", kind(m), m->number);
    if (!m->host || (size_t)(at - m->host) >= m->mapped) continue;
    if (m->freed) crime("page-locked buffer %d is used after it was freed", m->number);
    else if (h) crime("the program touches page-locked buffer %d before stream %d, which %s it, is synchronised",
                      m->number, h->stream, does(h));
  }
  report();
  sigaction(SIGSEGV, &earlier_segv, NULL); /* the access repeats, now without us */
}

/* ---- streams ---- */
static void run_copy(Job *job) { memcpy(job->to, job->from, job->size); }
static void run_set(Job *job) { memset(job->to, job->value, job->size); }
static void run_event(Job *job) { clock_gettime(CLOCK_MONOTONIC, &job->event->time); }
static void run_call(Job *job) { job->call(job->argument); }
static void run_kernel(Job *j) { if (j->kernel(j->parameters, j->size, j->grid, j->block)) sticky = CUDA_ERROR_LAUNCH_FAILED; }
static void *worker(void *stream) {
  Stream *s = stream;
  unsigned seed = s->index, delay_us = atoi(setting("DELAY_US", "0"));
  for (pthread_mutex_lock(&lock); !stopping;) {
    Job *job = s->first;
    if (!job || !reached(done, job->need)) { pthread_cond_wait(&changed, &lock); continue; }
    s->first = job->next;
    if (job->launch && !sticky) launches++, sticky = planned("launch");
    bool run = !sticky;
    pthread_mutex_unlock(&lock);
    if (run && delay_us) usleep(rand_r(&seed) % delay_us);
    if (run) job->run(job);
    pthread_mutex_lock(&lock);
    done[s->index] = job->number, free(job);
    pthread_cond_broadcast(&changed);
  }
  return pthread_mutex_unlock(&lock), NULL;
}
static Stream *open_stream(unsigned flags) {
  Stream *s = streams;
  while (s < streams + STREAMS && s->alive) s++;
  if (s == streams + STREAMS) return NULL;
  s->index = s - streams, s->alive = true, s->blocking = !(flags & CU_STREAM_NON_BLOCKING);
  merge(s->clock, host_clock);
  if (!s->thread) pthread_create(&s->thread, NULL, worker, s); /* else that of an earlier stream */
  return s;
}
static CUresult enqueue(Stream *s, Job wanted, int count, const Use *uses) {
  Job *job = malloc(sizeof *job); *job = wanted;
  /* The default stream waits for all streams but the non-blocking ones, and they for it. */
  EACH(i) if (s == streams && streams[i].blocking) merge(s->clock, streams[i].clock);
  if (s != streams && s->blocking) merge(s->clock, streams[0].clock);
  memcpy(job->need, s->clock, sizeof job->need);
  job->need[s->index] = 0; /* first in, first out */
  s->clock[s->index] = job->number = ++s->issued;
  for (; count--; uses++)
    if (uses->memory) use(s, *uses);
  s->last = *(s->first ? &s->last->next : &s->first) = job;
  pthread_cond_broadcast(&changed);
  return CUDA_SUCCESS;
}

/* ---- entering a call, and the end ---- */
/* A context that has ended may still be on the stack: PyCUDA's detach() leaves one there. (PyCUDA's destructor calls
 * cuCtxDetach, which cannot release a primary context and is not here.) */
static bool is_current(void) { return stack.depth && primary.references && stack.life[stack.depth - 1] == primary.life; }
static void left_on_stack(bool left) { if (left) crime("a context is left on the stack of a thread"); }
static bool left_here(void) { return stack.depth && stack.life[stack.depth - 1] >= primary.untold; }
static void unlock(const char **unused) { (void)unused, pthread_mutex_unlock(&lock); }
/* The begin of a call: the lock until it returns, and what has to hold before it does anything. Cleaning up works on a
 * failed device too. */
#define LOCK __attribute__((cleanup(unlock))) const char *locked = (pthread_mutex_lock(&lock), __func__)
#define ENTER(needs_context) LOCK; do { CUresult e = entered(locked, needs_context); if (e) return e; } while (0)
#define ENTER_CLEANUP LOCK; do { CUresult e = entered(locked, true); if (e && e != sticky) return e; } while (0)
#define ALIVE(thing, what) do { if (!(thing)->alive) return dead(locked, what); } while (0)
#define STREAM(s) do { if (!(s)) (s) = streams; ALIVE(s, "a stream"); } while (0)
static void thread_ends(void *unused) { LOCK; (void)unused, (void)locked, left_on_stack(left_here()), primary.pushed -= stack.depth; }
static CUresult entered(const char *name, bool needs_context) {
  if (!owner) return CUDA_ERROR_NOT_INITIALIZED;
  if (!needs_context || is_current()) return sticky;
  return crime("%s: called from a thread without a context", name), CUDA_ERROR_INVALID_CONTEXT;
}
static CUresult dead(const char *name, const char *what) {
  return crime("%s: %s is used after it was destroyed", name, what), CUDA_ERROR_INVALID_HANDLE;
}
static void leaks(const char *when) {
  int open = 0;
  for (Memory *m = memories; m && !sticky; m = m->next)
    if (!m->freed) crime("%s %d of %lu bytes is leaked: not freed %s", kind(m), m->number, m->size, when), forget(m);
  for (int i = 1; i < STREAMS; streams[i++].alive = false) open += streams[i].alive;
  if (open + live_events + live_modules && !sticky)
    crime("leaked: %d streams, %d events, %d modules alive %s", open, live_events, live_modules, when);
  live_events = live_modules = 0;
}
static void at_the_end(void) {
  if (getpid() != owner) return;
  pthread_mutex_lock(&lock); left_on_stack(left_here());
  if (primary.references && !sticky) crime("the primary context is never released");
  leaks("at exit");
  stopping = true, pthread_cond_broadcast(&changed), pthread_mutex_unlock(&lock);
  struct timespec until = {.tv_sec = time(NULL) + STOP_SECONDS};
  EACH(i) if (streams[i].thread && pthread_timedjoin_np(streams[i].thread, NULL, &until)) crime("stream %d runs on at exit", i);
  report();
  if (!crimes) return;
  fprintf(stderr, "host cuda: %d crimes, exit %d\n", crimes, CRIME_EXIT);
  fflush(NULL), _exit(CRIME_EXIT);
}

/* ---- the calls: device and context ---- */
CUresult cuInit(unsigned flags) {
  LOCK;
  CUresult failure = flags ? CUDA_ERROR_INVALID_VALUE : planned("init");
  if (failure || owner) return failure;
  arena = nothing(ARENA, NULL);
  owner = getpid();
  open_stream(0);
  pthread_key_create(&thread_key, thread_ends);
  sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK}, &earlier_segv);
  atexit(at_the_end); /* after Python's own end, before PyCUDA's static objects end */
  return CUDA_SUCCESS;
}
CUresult cuDriverGetVersion(int *version) { return *version = atoi(setting("DRIVER", "12060")), CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *count) { ENTER(false); return *count = 1, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *d, int n) { ENTER(false); return *d = 0, n ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice *device) { ENTER(true); return *device = 0, CUDA_SUCCESS; }
CUresult cuDeviceTotalMem(size_t *bytes, CUdevice d) { ENTER(false); return *bytes = total_bytes(), (CUresult)d; }
CUresult cuMemGetInfo(size_t *left, size_t *all) { ENTER(true); return *left = (*all = total_bytes()) - in_use, CUDA_SUCCESS; }
CUresult cuDeviceGetName(char *name, int size, CUdevice d) { return snprintf(name, size, "%s", setting("NAME", "Orin")), (CUresult)d; }
static int capability(int part) { return part ? atoi(strchr(setting("CC", "8.7"), '.') + 1) : atoi(setting("CC", "8.7")); }
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice d) {
  return *major = capability(0), *minor = capability(1), (CUresult)d;
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice d) {
  ENTER(false);
  *value = which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? capability(0)
         : which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? capability(1)
         : which == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT ? atoi(setting("SMS", "8"))
         : which == CU_DEVICE_ATTRIBUTE_INTEGRATED ? atoi(setting("INTEGRATED", "1"))
         : which == CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY;
  return (CUresult)d;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice d) {
  ENTER(false); CUresult failure = planned("retain");
  return failure ? failure : (primary.references++, *context = &primary, (CUresult)d);
}
CUresult cuDevicePrimaryCtxRelease(CUdevice d) {
  LOCK;
  if (!primary.references) return dead(locked, "the primary context");
  if (--primary.references) return (CUresult)d;
  if (primary.pushed > stack.depth) left_on_stack(true), primary.untold = primary.life + 1; /* by another thread */
  leaks("when the primary context is released");
  return primary.life++, (CUresult)d;
}
CUresult cuCtxPushCurrent(CUcontext context) {
  LOCK;
  if (context != &primary || !primary.references) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (stack.depth == DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
  pthread_setspecific(thread_key, context); /* so that the end of this thread is seen */
  return stack.life[stack.depth++] = primary.life, primary.pushed++, CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext *context) {
  LOCK;
  if (!stack.depth) return crime("a context is popped from an empty stack"), CUDA_ERROR_INVALID_CONTEXT;
  if (context) *context = &primary;
  return stack.depth--, primary.pushed--, CUDA_SUCCESS;
}
CUresult cuCtxSynchronize(void) { ENTER(true); Clock all; EACH(i) all[i] = streams[i].issued; return synchronise(all); }

/* ---- memory ---- */
CUresult cuMemAlloc(CUdeviceptr *at, Word size) { ENTER(true); return allocate(at, NULL, size, true); }
CUresult cuMemHostAlloc(void **at, Word size, unsigned flags) {
  ENTER(true); CUdeviceptr mapped;
  return allocate(&mapped, (char **)at, size, flags & CU_MEMHOSTALLOC_DEVICEMAP);
}
CUresult cuMemFree(CUdeviceptr at) { ENTER_CLEANUP; return release(false, at, locked); }
CUresult cuMemFreeHost(void *at) { ENTER_CLEANUP; return release(true, (Word)at, locked); }
CUresult cuMemHostGetDevicePointer(CUdeviceptr *at, void *host, unsigned flags) {
  ENTER(true); Memory *m = find(false, (Word)host);
  if (flags || !m || m->freed || !m->device) return CUDA_ERROR_INVALID_VALUE;
  return *at = m->device + ((char *)host - m->host), CUDA_SUCCESS;
}
static CUresult copy(const char *what, bool to_device, Word to, bool from_device, Word from, Word size, Stream *s) {
  Job job = {.run = run_copy, .size = size}; Use uses[2];
  if (!side(from_device, from, size, 'r', what, &job.from, &uses[0]) ||
      !side(to_device, to, size, 'w', what, &job.to, &uses[1])) return CUDA_ERROR_INVALID_VALUE;
  bool pageable = !uses[0].memory || !uses[1].memory;
  if (s && pageable) crime("%s: asynchronous copy of memory that is not page-locked", what);
  copies++;
  enqueue(s ? s : streams, job, 2, uses);
  return s && !pageable ? CUDA_SUCCESS : synchronise((s ? s : streams)->clock); /* without a stream it waits */
}
#define COPY(name, to_type, to_device, from_type, from_device) \
  CUresult name(to_type to, from_type from, Word size) { \
    ENTER(true); return copy(locked, to_device, (Word)to, from_device, (Word)from, size, NULL); } \
  CUresult name##Async_v2(to_type to, from_type from, Word size, CUstream s) { \
    ENTER(true); STREAM(s); return copy(locked, to_device, (Word)to, from_device, (Word)from, size, s); }
COPY(cuMemcpyHtoD, CUdeviceptr, true, const void *, false)
COPY(cuMemcpyDtoH, void *, false, CUdeviceptr, true)
COPY(cuMemcpyDtoD, CUdeviceptr, true, CUdeviceptr, true)
CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, Word size, CUstream s) {
  ENTER(true); STREAM(s);
  Job job = {.run = run_set, .value = value, .size = size}; Use u;
  return side(true, at, size, 'w', locked, &job.to, &u) ? enqueue(s, job, 1, &u) : CUDA_ERROR_INVALID_VALUE;
}

/* ---- streams and events ---- */
CUresult cuStreamCreate(CUstream *s, unsigned flags) { ENTER(true); return (*s = open_stream(flags)) ? 0 : CUDA_ERROR_OUT_OF_MEMORY; }
CUresult cuStreamDestroy(CUstream s) {
  ENTER_CLEANUP; STREAM(s);
  if (s->issued > host_clock[s->index] && !sticky) crime("stream %d is destroyed before it is synchronised", s->index);
  return s->alive = false, sticky;
}
CUresult cuStreamSynchronize(CUstream s) { ENTER(true); STREAM(s); return synchronise(s->clock); }
CUresult cuStreamQuery(CUstream s) { ENTER(true); STREAM(s); return query(s->clock); }
CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags) {
  ENTER(true); STREAM(s); ALIVE(e, "an event");
  return merge(s->clock, e->clock), flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent *result, unsigned flags) {
  ENTER(true);
  *result = calloc(1, sizeof **result); /* kept for good: a job may still name it */
  (*result)->alive = true, (*result)->timed = !(flags & CU_EVENT_DISABLE_TIMING);
  return live_events++, CUDA_SUCCESS;
}
CUresult cuEventDestroy(CUevent e) { ENTER_CLEANUP; ALIVE(e, "an event"); return e->alive = false, live_events--, sticky; }
CUresult cuEventRecord(CUevent e, CUstream s) {
  ENTER(true); STREAM(s); ALIVE(e, "an event");
  enqueue(s, (Job){.run = run_event, .event = e}, 0, NULL);
  memcpy(e->clock, s->clock, sizeof e->clock);
  return e->recorded = true, CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent e) { ENTER(true); ALIVE(e, "an event"); return synchronise(e->clock); }
CUresult cuEventQuery(CUevent e) { ENTER(true); ALIVE(e, "an event"); return query(e->clock); }
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
  ENTER(true);
  if (!start->timed || !end->timed || !start->recorded || !end->recorded) return CUDA_ERROR_INVALID_HANDLE;
  if (!reached(done, start->clock) || !reached(done, end->clock)) return CUDA_ERROR_NOT_READY;
  *ms = (end->time.tv_sec - start->time.tv_sec) * 1e3f + (end->time.tv_nsec - start->time.tv_nsec) / 1e6f;
  return CUDA_SUCCESS;
}

/* ---- modules: for the kernel NAME of any fatbin or cubin runs host_NAME of OUTRIDER_HOST_CUDA_KERNELS ---- */
CUresult cuModuleLoadDataEx(CUmodule *result, const void *image, unsigned count, CUjit_option *options, void **values) {
  ENTER(true);
  for (unsigned i = 0; i < count; i++) /* the logs stay empty */
    if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) values[i] = 0;
  CUresult failure = planned("load");
  if (failure) return failure;
  if (memcmp(image, "\x50\xed\x55\xba", 4) && memcmp(image, "\177ELF", 4)) return CUDA_ERROR_INVALID_IMAGE;
  void *library = dlopen(setting("KERNELS", "none"), RTLD_NOW);
  if (!library) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  *result = calloc(1, sizeof **result); /* kept for good, as the library: a job may still run in it */
  (*result)->library = library, (*result)->alive = true;
  return live_modules++, CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule m) { ENTER_CLEANUP; ALIVE(m, "a module"); return m->alive = false, live_modules--, sticky; }
CUresult cuModuleGetFunction(CUfunction *result, CUmodule module, const char *name) {
  ENTER(true); ALIVE(module, "a module");
  char symbol[256]; CUfunction f = calloc(1, sizeof *f);
  snprintf(symbol, sizeof symbol, "host_%s", name);
  f->module = module, f->kernel = dlsym(module->library, symbol);
  snprintf(symbol, sizeof symbol, "host_%s_access", name); /* "rw": by its pointers; without it all are written by */
  f->access = dlsym(module->library, symbol);
  return *result = f, f->kernel ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
CUresult cuFuncSetBlockShape(CUfunction f, int x, int y, int z) { /* PyCUDA's prepared calls say it twice */
  return f->module->alive && x > 0 && y > 0 && z > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* The parameters come as one buffer, as PyCUDA packs them. A word that is a device address becomes that of its bytes;
 * it is a use of the memory from there on. */
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream s, void **parameters, void **extra) {
  ENTER(true); STREAM(s); ALIVE(f->module, "a kernel's module");
  if (parameters || !extra || extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER) return CUDA_ERROR_NOT_SUPPORTED;
  Word size = *(size_t *)extra[3], threads = (size_t)bx * by * bz, blocks = (size_t)gx * gy * gz;
  Job job = {.run = run_kernel, .launch = true, .kernel = f->kernel, .size = size, .grid = {gx, gy, gz}, .block = {bx, by, bz}};
  if (!blocks || !threads || threads > 1024 || shared > 49152 || size > sizeof job.parameters) return CUDA_ERROR_INVALID_VALUE;
  memcpy(job.parameters, extra[1], size);
  Use uses[POINTERS]; int pointers = 0;
  for (size_t i = 0; i < size / sizeof(Word) && pointers < POINTERS; i++) {
    if (!is_device(job.parameters[i])) continue;
    char *bytes, mode = f->access && pointers < (int)strlen(f->access) ? f->access[pointers] : 'w';
    if (!side(true, job.parameters[i], 1, mode, locked, &bytes, &uses[pointers])) return CUDA_ERROR_ILLEGAL_ADDRESS;
    uses[pointers].to = uses[pointers].memory->size, pointers++, job.parameters[i] = (Word)bytes;
  }
  return enqueue(s, job, pointers, uses);
}

/* ---- for the TensorRT double: work of its own on a stream, which reads and writes these ranges ---- */
CUresult host_cuda_enqueue(CUstream s, void (*call)(void *), void *argument, int count, const Word *at, const Word *sizes,
                           const char *modes) {
  ENTER(true); STREAM(s);
  Use uses[POINTERS]; char *bytes;
  if (count > POINTERS) return CUDA_ERROR_INVALID_VALUE;
  for (int i = 0; i < count; i++)
    if (!side(true, at[i], sizes[i], modes[i], locked, &bytes, &uses[i])) return CUDA_ERROR_ILLEGAL_ADDRESS;
  return enqueue(s, (Job){.run = run_call, .launch = true, .call = call, .argument = argument}, count, uses);
}
void *host_cuda_open(Word at, Word size) { /* where the bytes lie, for such work as it runs */
  LOCK; char *bytes; Use unused;
  return side(true, at, size, 'r', locked, &bytes, &unused) ? bytes : NULL;
}
CUresult host_cuda_missing(const char *name) { /* behind every name that PyCUDA links and nothing here defines */
  return crime("%s is not part of the driver for tests", name), CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuGetErrorString(CUresult error, const char **text) { /* the real driver's words: the app knows some of them */
  static const char *const texts[CUDA_ERROR_UNKNOWN + 1] = {
      [1] = "invalid argument", [2] = "out of memory", [46] = "CUDA-capable device(s) is/are busy or unavailable",
      [100] = "no CUDA-capable device is detected", [200] = "device kernel image is invalid", [201] = "invalid device context",
      [209] = "no kernel image is available for execution on the device", [214] = "uncorrectable ECC error encountered",
      [304] = "OS call failed or operation not supported on this OS", [500] = "named symbol not found",
      [700] = "an illegal memory access was encountered", [719] = "unspecified launch failure"};
  return *text = error <= CUDA_ERROR_UNKNOWN && texts[error] ? texts[error] : "unknown error", CUDA_SUCCESS;
}
