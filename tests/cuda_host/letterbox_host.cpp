// engines/cuda/letterbox.cu as a function of the host: the few words of CUDA that it uses, and the
// loop over blocks and threads that a launch is. Built by toolkit/bin/nvcc, loaded by driver.c.

#include <cmath>
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

extern "C" const char letterbox_access[] = "rw";  // the frame is read, the output written

extern "C" void letterbox_host(
    const unsigned grid[3], const unsigned block[3], const void *params) {
    LetterboxArgs args;
    std::memcpy(&args, params, sizeof args);
    blockDim.x = block[0];
    for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x) letterbox(args);
}
