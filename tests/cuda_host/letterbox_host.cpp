// engines/cuda/letterbox.cu as a function of the host: the few words of CUDA that it uses, and the
// loop over blocks and threads that a launch is. Built by host_kernel.py, launched by driver.c.

#include <cmath>
#include <cstddef>
#include <cstring>

#define __device__
#define __forceinline__ inline
#define __global__
#define __launch_bounds__(threads)

namespace {
struct Index { unsigned x; };
thread_local Index blockIdx, blockDim, threadIdx;
template <class T> T __ldg(const T *at) { return *at; }
int min(int a, int b) { return a < b ? a : b; }
int max(int a, int b) { return a > b ? a : b; }
float __fdiv_rn(float a, float b) { return a / b; }
int __float2int_rn(float a) { return (int)std::lrintf(a); }
}  // namespace

#include "letterbox.cu"

extern "C" const char host_letterbox_access[] = "rw";  // the frame is read, the output written

// A launch with its packed arguments; −1 where the kernel is not made for it.
extern "C" int host_letterbox(
    const void *packed, size_t size, const unsigned grid[3], const unsigned block[3]) {
    LetterboxArgs args;
    if (size != sizeof args || block[0] > 256) return -1;
    for (int i = 1; i < 3; ++i)
        if (grid[i] != 1 || block[i] != 1) return -1;
    std::memcpy(&args, packed, sizeof args);
    blockDim.x = block[0];
    for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x) letterbox(args);
    return 0;
}
