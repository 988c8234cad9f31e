// Lists of the spikes among packed bits, and sums over them in the order of the CPU's `gather` (kernels/dense/cpu.py).
//
// A warp turns words into a list of entries in shared memory, 32 words at a time, one for each lane:
//
//     words     ..0100 | ..0000 | ..1001 |     a lane a word
//     counts       1   |    0   |    2   |     their prefix sums are places in the list
//     list      [ 2, 64, 67 ]                  the entry of each bit, ascending
//
// Then all lanes walk the list, each for an output of its own: the warp does not diverge, however the spikes lie. The list
// is short. Where the words have more spikes, it is used and filled again.

constexpr unsigned ALL_LANES = 0xFFFFFFFF;
constexpr int LANES = 32;

// Entries of the list of a warp. It is filled completely before it is used, except at the end: a multiple of four keeps
// the fours of a sum together.
constexpr int LIST = 64;

// Which entry each bit of the words stands for: bit b of word w is entry outer (w / period) + inner (32 (w % period) + b).
struct Entries {
    unsigned period;
    unsigned outer;
    unsigned inner;
    unsigned long long inverse;  // 2^32 / period, rounded up

    __device__ __forceinline__ Entries(long long period, long long outer, long long inner)
        : period(period), outer(outer), inner(inner), inverse(((1ull << 32) + period - 1) / (period > 0 ? period : 1))
    {
    }

    // The entry of bit 0 of a word. A division takes twenty instructions; the product is the quotient, or one more.
    __device__ __forceinline__ unsigned first(unsigned word) const
    {
        unsigned group = word * inverse >> 32;
        group -= (unsigned long long)group * period > word;
        return outer * group + inner * LANES * (word - group * period);
    }
};

// `depth` words of each lane: word `first` + 32 i + lane of `count` words for each i, 0 behind the last.
template <int depth>
struct Words {
    unsigned word[depth];

    __device__ __forceinline__ Words(const unsigned *words, unsigned count, unsigned first)
    {
#pragma unroll
        for (int i = 0; i < depth; ++i) {
            const unsigned at = first + LANES * i + threadIdx.x % LANES;
            word[i] = at < count ? words[at] : 0;
        }
    }
};

// Puts into place[i] how many bits the warp has before those of word[i], from `filled` on. Returns the number behind all.
template <int depth>
__device__ __forceinline__ unsigned places_of(unsigned (&place)[depth], const Words<depth> &words, unsigned filled)
{
#pragma unroll
    for (int i = 0; i < depth; i += 2) {
        // Two sums of up to 1,024 in one register.
        unsigned counts = __popc(words.word[i]);
        if (i + 1 < depth)
            counts |= __popc(words.word[i + 1 < depth ? i + 1 : i]) << 16;
        const unsigned mine = counts;
#pragma unroll
        for (int distance = 1; distance < LANES; distance *= 2) {
            const unsigned before = __shfl_up_sync(ALL_LANES, counts, distance);
            counts += threadIdx.x % LANES >= distance ? before : 0;
        }
        const unsigned all = __shfl_sync(ALL_LANES, counts, LANES - 1), before = counts - mine;
        place[i] = filled + (before & 0xFFFF);
        filled += all & 0xFFFF;
        if (i + 1 < depth) {
            place[i + 1 < depth ? i + 1 : i] = filled + (before >> 16);
            filled += all >> 16;
        }
    }
    return filled;
}

// Calls use(list, size) for the entries of the bits in `count` words, in ascending order of the bits: size is LIST, and at
// the end less, which may be 0. `loaded` are the first words, from `first` on; the warp skips from one group of
// 32 depth words to that `stride` words later. All lanes of a warp call it together.
template <int depth, typename Use>
__device__ __forceinline__ void for_each_list(
    Words<depth> loaded, const unsigned *words, unsigned count, unsigned first, unsigned stride, const Entries &entries,
    unsigned *list, Use use)
{
    unsigned filled = 0;
    for (unsigned at = first; at < count; at += stride) {
        if (at != first)
            loaded = Words<depth>(words, count, at);
        unsigned place[depth];
        filled = places_of(place, loaded, filled);
        for (;;) {
#pragma unroll
            for (int i = 0; i < depth; ++i) {
                unsigned &word = loaded.word[i];
                if (word) {
                    const unsigned entry = entries.first(at + LANES * i + threadIdx.x % LANES);
                    for (; word && place[i] < LIST; word &= word - 1)
                        list[place[i]++] = entry + entries.inner * (__ffs(word) - 1);
                }
            }
            if (filled < LIST)
                break;
            __syncwarp();
            use(list, LIST);
            __syncwarp();
            filled -= LIST;
#pragma unroll
            for (int i = 0; i < depth; ++i)
                place[i] -= LIST;
        }
    }
    __syncwarp();
    use(list, int(filled));
    __syncwarp();
}

// Adds row(entry) for each entry of a list to a total: in fours, (a + b) + (c + d), the rest one by one.
template <typename Row>
__device__ __forceinline__ real add_in_fours(real total, const unsigned *list, int size, Row row)
{
    int e = 0;
#pragma unroll 2
    for (; e + 4 <= size; e += 4) {
        const uint4 four = *reinterpret_cast<const uint4 *>(list + e);
        total += (row(four.x) + row(four.y)) + (row(four.z) + row(four.w));
    }
    for (; e < size; ++e)
        total += row(list[e]);
    return total;
}

// The rows of a weight (inputs, outputs) that belong to 32 outputs: in shared memory (inputs, 32), or where they are.
struct SharedRows {
    const real *mine;  // the first row, of this lane

    __device__ __forceinline__ real operator()(unsigned input) const { return mine[input * LANES]; }
};

struct DistantRows {
    const real *mine;
    long long outputs;

    __device__ __forceinline__ real operator()(unsigned input) const { return mine[input * outputs]; }
};

// Copies the columns of 32 outputs, from `output` on, into shared memory (inputs, 32); 0 behind the last output.
__device__ __forceinline__ void copy_rows(
    real *rows, const real *w, long long inputs, long long outputs, long long output)
{
    for (long long i = threadIdx.x; i < inputs * LANES; i += blockDim.x)
        rows[i] = output + i % LANES < outputs ? w[i / LANES * outputs + output + i % LANES] : 0;
}
