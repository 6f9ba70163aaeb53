// What nsys is to NVTX: the library of NVTX_INJECTION64_PATH, which the first call loads. It writes
// each range to the file NVTX_HEARD, as "push TID DOMAIN NAME", "pop TID", "start ID DOMAIN NAME"
// or "end ID". The tables are those of NVTX 3 (nvtxTypes.h), which no package here brings.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace {
typedef void (*Function)();
struct Callbacks {
  size_t size;
  int (*table_of)(int module, Function ***table, unsigned *length);
};
struct Attributes {
  uint16_t version, size;
  uint32_t category;
  int32_t color_type;
  uint32_t color;
  int32_t payload_type, reserved;
  uint64_t payload;
  int32_t message_type;
  const char *message;  // a registered one is our own handle: its text
};
enum { CALLBACKS = 1, CORE2 = 5, START = 2, END = 3, PUSH = 4, POP = 5, REGISTER = 10, CREATE = 12 };

std::mutex alone;
FILE *heard;
uint64_t last_range;

long thread() { return syscall(SYS_gettid); }
const char *create(const char *name) { return strdup(name); }
const char *registered(const char *, const char *text) { return strdup(text); }
int push(const char *domain, const Attributes *range) {
  std::lock_guard<std::mutex> lock(alone);
  fprintf(heard, "push %ld %s %s\n", thread(), domain, range->message);
  return 0;
}
int pop(const char *) {
  std::lock_guard<std::mutex> lock(alone);
  fprintf(heard, "pop %ld\n", thread());
  return 0;
}
uint64_t start(const char *domain, const Attributes *range) {
  std::lock_guard<std::mutex> lock(alone);
  fprintf(heard, "start %lu %s %s\n", ++last_range, domain, range->message);
  return last_range;
}
void end(const char *, uint64_t range) {
  std::lock_guard<std::mutex> lock(alone);
  fprintf(heard, "end %lu\n", range);
}
}  // namespace

extern "C" int InitializeInjectionNvtx2(const void *(*export_table)(uint32_t)) {
  const char *path = getenv("NVTX_HEARD");
  heard = path ? fopen(path, "w") : nullptr;
  auto callbacks = static_cast<const Callbacks *>(export_table(CALLBACKS));
  Function **table;
  unsigned length;
  if (!heard || !callbacks || !callbacks->table_of(CORE2, &table, &length) || length <= CREATE)
    return 0;
  setvbuf(heard, nullptr, _IOLBF, 0);
  *table[START] = reinterpret_cast<Function>(start);
  *table[END] = reinterpret_cast<Function>(end);
  *table[PUSH] = reinterpret_cast<Function>(push);
  *table[POP] = reinterpret_cast<Function>(pop);
  *table[REGISTER] = reinterpret_cast<Function>(registered);
  *table[CREATE] = reinterpret_cast<Function>(create);
  return 1;
}
