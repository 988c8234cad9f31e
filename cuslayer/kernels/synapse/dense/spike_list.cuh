// Lists of the spikes among packed bits, and sums over them in the order of the CPU: `gather` of synapse/dense/cpu.py.
//
// A warp lists the bits of 32 or 128 words, then all its lanes follow the list, each for outputs of its own: the warp
// does not diverge, however the spikes lie. A lane counts the bits of its words; place p of the list is filled by lane
// p, which searches the word where the sum of the counts passes p:
//
//     lane            0        1        2        3
//     words        ..0100   ..0000   ..1001   ..0010
//     count           1        0        2        1
//     sum so far      1        1        3        4
//     list         [  2,      64,      67,      97 ]      place 2 is in lane 2, whose sum is the first above 2
//
// The list has 32 places. Only the last list is partial.

constexpr unsigned ALL_LANES = 0xFFFFFFFF;
constexpr int LANES = 32;
// Rows of spikes whose loads are on their way together.
constexpr int TOGETHER = 4;
// The neighbouring entries whose rows are added to each other first: NEIGHBOURS of host/vectors.py.
constexpr unsigned NEIGHBOURS = 6;

// Which entry a bit stands for: bit b of word w is entry outer (w / period) + inner (32 (w % period) + b).
struct Entries {
    unsigned period;
    unsigned outer;
    unsigned inner;
    unsigned inverse;  // 2^32 / period, rounded down

    __device__ __forceinline__ Entries(unsigned period, unsigned outer, unsigned inner)
        : period(period), outer(outer), inner(inner), inverse(0xFFFFFFFF / max(period, 1u))
    {
    }

    __device__ __forceinline__ unsigned at(unsigned word, unsigned bit) const
    {
        // A division takes twenty instructions; the product is the quotient, or one less.
        unsigned group = (unsigned long long)word * inverse >> 32;
        group += word - group * period >= period;
        return outer * group + inner * (LANES * (word - group * period) + bit);
    }
};

// `depth` words of each lane, 1 or 4: the words first + 32 i + lane of `count` for each i, 0 after the last.
template <int depth>
struct Words {
    unsigned word[depth];

    __device__ __forceinline__ Words(const unsigned *words, unsigned count, unsigned first)
    {
        const unsigned at = first + threadIdx.x % LANES;
        const unsigned *const mine = words + at;
#pragma unroll
        for (int i = 0; i < depth; ++i)
            word[i] = at + LANES * i < count ? mine[LANES * i] : 0;
    }
};

// The place of bit number `bit` of a word, counted from 0 over those that are 1. The first way takes 5 instructions for
// each bit before it, the second 30, and all lanes of a warp wait for the one that takes longest.
constexpr unsigned MANY = 6;

__device__ __forceinline__ unsigned place_one_by_one(unsigned word, unsigned bit)
{
#pragma unroll 1
    for (; bit > 0; --bit)
        word &= word - 1;
    return __ffs(word) - 1;
}

__device__ __forceinline__ unsigned place_in_halves(unsigned word, unsigned bit)
{
    unsigned place = 0;
#pragma unroll
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        const unsigned below = __popc(word & ((1u << half) - 1));
        const bool above = bit >= below;
        bit -= above ? below : 0;
        word = above ? word >> half : word;
        place += above ? half : 0;
    }
    return place;
}

// What a warp has in shared memory.
template <int depth>
struct __align__(16) SpikeList {
    unsigned list[LANES];
    unsigned words[LANES * depth];

    // Calls use(list, size) for the entries of the bits in `count` words, in ascending order of the bits: size is 32,
    // and at the end less, which may be 0. `loaded` are the first words, from `first` on; the warp goes from one group
    // of 32 depth words to that `stride` words later. All lanes of a warp call it together.
    template <typename Use>
    __device__ __forceinline__ void for_each(
        Words<depth> loaded, const unsigned *from, unsigned count, unsigned first, unsigned stride,
        const Entries &entries, Use use)
    {
        unsigned filled = 0;
        for (unsigned at = first;; at += stride) {
            const bool ends = at >= count;
            if (at != first && !ends)
                loaded = Words<depth>(from, count, at);
            const Counts counts = ends ? Counts() : count_bits(loaded);
            for (unsigned begin = 0; ends || begin < counts.all;) {
                const unsigned taken = min(LANES - filled, counts.all - begin);
                if (!ends)
                    fill(begin + threadIdx.x % LANES - filled, threadIdx.x % LANES >= filled, counts, at, entries);
                filled += taken;
                begin += taken;
                if (filled == LANES || ends) {
                    __syncwarp();
                    use(list, int(filled));
                    __syncwarp();
                    filled = 0;
                }
                if (ends)
                    return;
            }
        }
    }

private:
    // The bits of the words of all lanes.
    struct Counts {
        unsigned all = 0;     // in all lanes
        unsigned sum = 0;     // in this lane and those before it
        unsigned mine = 0;    // in this lane, which has `depth` successive words
        unsigned before = 0;  // byte k: before word k of these
    };

    __device__ __forceinline__ Counts count_bits(const Words<depth> &loaded)
    {
        const unsigned lane = threadIdx.x % LANES;
        Counts counts;
        __syncwarp();
#pragma unroll
        for (int i = 0; i < depth; ++i)
            words[LANES * i + lane] = loaded.word[i];
        __syncwarp();
        unsigned successive[depth];
        if constexpr (depth == 4) {
            const uint4 four = *reinterpret_cast<const uint4 *>(words + 4 * lane);
            successive[0] = four.x;
            successive[1] = four.y;
            successive[2] = four.z;
            successive[3] = four.w;
        } else {
            successive[0] = words[lane];
        }
#pragma unroll
        for (int k = 0; k < depth; ++k) {
            counts.before |= counts.mine << 8 * k;
            counts.mine += __popc(successive[k]);
        }
        counts.sum = counts.mine;
#pragma unroll
        for (int distance = 1; distance < LANES; distance *= 2) {
            const unsigned other = __shfl_up_sync(ALL_LANES, counts.sum, distance);
            counts.sum += lane >= distance ? other : 0;
        }
        counts.all = __shfl_sync(ALL_LANES, counts.sum, LANES - 1);
        return counts;
    }

    // Puts bit `place` of the warp's words into the list, at the place of this lane.
    __device__ __forceinline__ void fill(
        unsigned place, bool fills, const Counts &counts, unsigned at, const Entries &entries)
    {
        unsigned source = 0;
#pragma unroll
        for (int distance = LANES / 2; distance > 0; distance /= 2)
            source += __shfl_sync(ALL_LANES, counts.sum, source + distance - 1) <= place ? distance : 0;
        unsigned bit = place - __shfl_sync(ALL_LANES, counts.sum - counts.mine, source), k = 0;
        if (depth > 1) {
            const unsigned before = __shfl_sync(ALL_LANES, counts.before, source);
#pragma unroll
            for (int i = 1; i < depth; ++i)
                k += bit >= (before >> 8 * i & 0xFF);
            bit -= before >> 8 * k & 0xFF;
        }
        fills = fills && place < counts.all;
        const bool many = __any_sync(ALL_LANES, fills && bit >= MANY);
        if (fills) {
            const unsigned word = words[depth * source + k];
            list[threadIdx.x % LANES] =
                entries.at(at + depth * source + k, many ? place_in_halves(word, bit) : place_one_by_one(word, bit));
        }
    }
};

// The elements of a row at a lane's columns, 32 apart, 0 at columns that do not exist.
template <int groups, bool all>
__device__ __forceinline__ void read_columns(real (&row)[groups], const real *from, int count)
{
#pragma unroll
    for (int k = 0; k < groups; ++k)
        row[k] = all || k * LANES < count ? from[k * LANES] : 0;
}

// The sums of a lane over the rows of spikes, one for each of its columns, 32 apart: the rows of neighbouring entries are
// added to each other first.
template <int groups>
struct RowSums {
    real total[groups] = {};
    real some[groups] = {};  // over the neighbours of the last spike
    unsigned last = 0;       // the number of these neighbours

    // Adds the rows of a list. `table` is (rows, columns); the columns of the warp begin at `column`.
    __device__ __forceinline__ void add(
        const unsigned *list, int size, const real *table, long long columns, long long column)
    {
        const int lane = threadIdx.x % LANES;
        const long long left = columns - column;
        if (left >= groups * LANES)
            add_rows<true>(list, size, table + column + lane, columns, 0);
        else
            add_rows<false>(list, size, table + column + lane, columns, int(left) - lane);
    }

    // Sets `sums` to the sums of all rows that were added.
    __device__ __forceinline__ void finish(real (&sums)[groups]) const
    {
#pragma unroll
        for (int k = 0; k < groups; ++k)
            sums[k] = total[k] + some[k];
    }

private:
    template <bool all>
    __device__ __forceinline__ void add_rows(
        const unsigned *list, int size, const real *first, unsigned columns, int count)
    {
        int e = 0;
#pragma unroll 1
        for (; e + TOGETHER <= size; e += TOGETHER) {
            real row[TOGETHER][groups];
#pragma unroll
            for (int i = 0; i < TOGETHER; ++i)
                read_columns<groups, all>(row[i], first + (unsigned long long)list[e + i] * columns, count);
            // Read the list again: the registers have the rows.
#pragma unroll
            for (int i = 0; i < TOGETHER; ++i)
                add_row(static_cast<const volatile unsigned *>(list)[e + i] / NEIGHBOURS, row[i]);
        }
#pragma unroll 1
        for (; e < size; ++e) {
            real row[groups];
            read_columns<groups, all>(row, first + (unsigned long long)list[e] * columns, count);
            add_row(list[e] / NEIGHBOURS, row);
        }
    }

    // A sum that began at 0 is never -0, so the first addition of 0 does not change it.
    __device__ __forceinline__ void add_row(unsigned neighbours, const real (&row)[groups])
    {
        if (neighbours == last) {
#pragma unroll
            for (int k = 0; k < groups; ++k)
                some[k] += row[k];
        } else {
#pragma unroll
            for (int k = 0; k < groups; ++k) {
                total[k] += some[k];
                some[k] = row[k];
            }
            last = neighbours;
        }
    }
};

// Sets the totals of a lane, one for each of its columns, 32 apart, to the sums of the rows that the bits in `count`
// words of a frame stand for. `loaded` are the first words; for the others see for_each and RowSums.
template <int groups, int depth>
__device__ __forceinline__ void sum_rows(
    real (&total)[groups], const Words<depth> &loaded, const unsigned *words, unsigned count, const Entries &entries,
    SpikeList<depth> &spikes, const real *table, long long columns, long long column)
{
    RowSums<groups> sums;
    spikes.for_each(
        loaded, words, count, 0, depth * LANES, entries,
        [&](const unsigned *list, int size) { sums.add(list, size, table, columns, column); });
    sums.finish(total);
}
