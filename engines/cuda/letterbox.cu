// Resizes one BGR camera frame into a network's input and paints the padding, in one kernel.
//
// The arithmetic is that of OpenCV's cv2.resize(INTER_LINEAR) for 8-bit images (modules/imgproc/
// src/resize.cpp, Apache 2.0), whose half-pixel convention, clamping and 11-bit fixed-point weights
// it repeats step by step, so that a model sees the same bits whichever side made its input.
//
// Each thread makes one aligned 32-bit word of the output: four of the channels of two neighbouring
// pixels. So a warp's store is 128 whole bytes, the reads of its lanes lie as close as the scale
// lets them, any output width will do, and nothing is shared between threads. Built for a GPU by
// engines/cuda/compiler.py; the tests build the same file for the host.

typedef unsigned char u8;
typedef unsigned int u32;

// The whole argument list as one struct: engines/cuda/letterbox.py packs it as "PP10i".
struct LetterboxArgs {
    const u8 *frame;       // (frame_h, pitch) bytes, each row frame_w BGR pixels and then anything
    u8 *out;               // (out_h, out_w, 3) without gaps
    int frame_w, frame_h;  // px, up to 16384: products of two sizes stay below 2^31
    int pitch;             // bytes from one frame row to the next
    int out_w, out_h;      // px
    int size_w, size_h;    // the frame's image inside the output, px
    int pad_x, pad_y;      // where its upper left corner lies, output px
    int pad_value;         // what surrounds it, 0 to 255
};

// Where one output coordinate samples one axis of the frame.
struct Tap {
    int at0, at1;  // the two neighbours
    int w0, w1;    // their weights, 2048 = 1; each rounded for itself, as OpenCV does
};

static __device__ __forceinline__ Tap tap(int i, int from, int to, bool snap) {
    // (i + 0.5) * from / to - 0.5 as the quotient of two integers, each exact in a float where
    // 2 * from * to < 2^24, so that one correctly rounded division gives OpenCV's float.
    const float at = __fdiv_rn((float)((2 * i + 1) * from - to), (float)(2 * to));
    const int floor_at = (int)floorf(at);
    float part = at - (float)floor_at;
    // Along x OpenCV takes the edge pixel alone; along y it blends the edge row with itself, which
    // differs by the rounding.
    if (snap && (floor_at < 0 || floor_at >= from - 1)) part = 0.0f;
    Tap t;
    t.at0 = min(max(floor_at, 0), from - 1);
    t.at1 = min(max(floor_at + 1, 0), from - 1);
    t.w0 = __float2int_rn((1.0f - part) * 2048.0f);
    t.w1 = __float2int_rn(part * 2048.0f);
    return t;
}

// What one output pixel is made of: four samples, two of each of two frame rows.
struct Pixel {
    const u8 *upper, *lower;  // the rows
    int left, right;          // bytes from a row's beginning to a sample's blue
    int x0, x1, y0, y1;       // the weights of left, right, upper, lower
    bool inside;              // else it is padding, and its samples are merely somewhere valid
};

static __device__ __forceinline__ Pixel pixel(
    const LetterboxArgs &a, int i, const Tap &y, bool in) {
    const Tap x = tap(min(max(i, 0), a.size_w - 1), a.frame_w, a.size_w, true);
    Pixel p;
    p.upper = a.frame + (size_t)y.at0 * a.pitch;
    p.lower = a.frame + (size_t)y.at1 * a.pitch;
    p.left = 3 * x.at0;
    p.right = 3 * x.at1;
    p.x0 = x.w0;
    p.x1 = x.w1;
    p.y0 = y.w0;
    p.y1 = y.w1;
    p.inside = in;
    return p;
}

// Field by field: the lanes of a warp differ in which pixel a byte belongs to, and selects keep
// their loads together where a branch would take them one after the other.
static __device__ __forceinline__ Pixel pick(bool first, const Pixel &a, const Pixel &b) {
    Pixel p;
    p.upper = first ? a.upper : b.upper;
    p.lower = first ? a.lower : b.lower;
    p.left = first ? a.left : b.left;
    p.right = first ? a.right : b.right;
    p.x0 = first ? a.x0 : b.x0;
    p.x1 = first ? a.x1 : b.x1;
    p.y0 = first ? a.y0 : b.y0;
    p.y1 = first ? a.y1 : b.y1;
    p.inside = first ? a.inside : b.inside;
    return p;
}

static __device__ __forceinline__ u32 sample(const Pixel &p, int channel, int pad_value) {
    // HResizeLinear: 8 + 11 bits; VResizeLinear drops 4, weighs the rows, drops 16, rounds off 2.
    const int left = p.left + channel, right = p.right + channel;
    const int upper = __ldg(p.upper + left) * p.x0 + __ldg(p.upper + right) * p.x1;
    const int lower = __ldg(p.lower + left) * p.x0 + __ldg(p.lower + right) * p.x1;
    const int value = ((((upper >> 4) * p.y0) >> 16) + (((lower >> 4) * p.y1) >> 16) + 2) >> 2;
    return (u32)(p.inside ? value : pad_value);
}

extern "C" __global__ void __launch_bounds__(256) letterbox(const LetterboxArgs a) {
    const u32 bytes = 3u * (u32)a.out_w * (u32)a.out_h;
    const u32 at = 4u * (blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= bytes) return;
    const u32 index = at / 3u;
    const int first_channel = (int)(at - 3u * index);
    const int row = (int)(index / (u32)a.out_w), column = (int)(index - (u32)row * (u32)a.out_w);
    // Four bytes always touch two pixels; the second may begin the next row, or lie behind the
    // last one, where it counts as padding and is not stored.
    const bool wraps = column + 1 == a.out_w;
    const int i = column - a.pad_x, next_i = wraps ? -a.pad_x : i + 1;
    const int j = row - a.pad_y, next_j = wraps ? j + 1 : j;
    const bool in = i >= 0 && i < a.size_w && j >= 0 && j < a.size_h;
    const bool next_in = next_i >= 0 && next_i < a.size_w && next_j >= 0 && next_j < a.size_h;
    u32 word = 0x01010101u * (u32)a.pad_value;
    if (in || next_in) {
        const Tap y = tap(min(max(j, 0), a.size_h - 1), a.frame_h, a.size_h, false);
        Tap next_y = y;
        if (wraps) next_y = tap(min(max(next_j, 0), a.size_h - 1), a.frame_h, a.size_h, false);
        const Pixel first = pixel(a, i, y, in), second = pixel(a, next_i, next_y, next_in);
        word = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const bool mine = first_channel + k < 3;
            const int channel = mine ? first_channel + k : first_channel + k - 3;
            word |= sample(pick(mine, first, second), channel, a.pad_value) << (8 * k);
        }
    }
    if (at + 4u <= bytes) {
        *reinterpret_cast<u32 *>(a.out + at) = word;
    } else {  // the last one to three bytes of an output that no word fills
        for (u32 k = 0; at + k < bytes; ++k) a.out[at + k] = (u8)(word >> (8 * k));
    }
}
