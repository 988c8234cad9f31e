// Dropout: random factors, and a signal times them.
//
//   dropout   scale[m] = 0 with probability silent / 2^32, else factor;   y[t, m] = x[t, m] scale[m]
//
// The random words come from Philox4x32-10, a counter-based generator: four words of 32 bits are a function of a
// counter of four words and a key of two, in ten rounds of two multiplications each. There is no state that threads
// would share or that would have to be stored: each lane computes its words from its place. The counter is
//
//     (group, group >> 32, draw, draw >> 32)      group: of four columns; draw: the number of this launch
//
// Key and number of the draw are on the device. The last block of a launch advances the number, so that a captured
// graph draws other factors at each launch.
//
// Layout: x and y are (steps, columns), scale is (columns,), C-contiguous. A warp has 128 columns for some steps: lane l
// has the group 32 w + l of warp w, whose words belong to the columns 128 w + l, 32 further, 64 and 96, so that each
// access of a warp is to 32 successive columns. Each chunk of steps draws the words again, which costs less than to
// read the factors.
//
//     lane          0     1    ...   31
//     word 0   m    0     1    ...   31
//     word 1       32    33    ...   63
//     word 2       64    65    ...   95
//     word 3       96    97    ...  127
//
// Precision: a column is silent if its word is less than `silent`. So the probability is a multiple of 2^-32. The
// factor is given in `real`.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
// The CPU draws from NumPy's generator: its factors are others. Twin: tests/support/philox.py. Tests:
// tests/kernels/test_twins_dropout.py.

constexpr int WORDS = 4;
constexpr int ROUNDS = 10;

// The words of a counter and a key.
__device__ __forceinline__ void philox(unsigned (&counter)[WORDS], unsigned key0, unsigned key1)
{
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        const unsigned long long even = 0xD2511F53ull * counter[0], odd = 0xCD9E8D57ull * counter[2];
        counter[0] = unsigned(odd >> 32) ^ counter[1] ^ key0;
        counter[1] = unsigned(odd);
        counter[2] = unsigned(even >> 32) ^ counter[3] ^ key1;
        counter[3] = unsigned(even);
        // Weyl sequences of the golden ratio, and of sqrt(3) - 1.
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

extern "C" __global__ void dropout(
    long long *__restrict__ state,     // (2,), the key, and the number of this draw, which the launch advances
    unsigned *__restrict__ arrived,    // (1,), blocks that have ended, 0 before and after
    const bool *__restrict__ spikes,   // (steps, columns), or empty
    const real *__restrict__ numbers,  // (steps, columns), or empty if x are spikes
    real *__restrict__ scale,          // (columns,), written
    real *__restrict__ y,              // (steps, columns), written
    unsigned silent,                   // 2^32 times the probability of 0, rounded down
    real factor,                       // of the others
    long long steps,                   // time steps
    long long columns,                 // neurons of all samples
    long long chunk,                   // steps of a thread
    bool fired)                        // whether x are spikes
{
    const unsigned long long key = state[0], draw = state[1];
    constexpr int lanes = 32;
    const long long groups = (columns + WORDS * lanes - 1) / (WORDS * lanes) * lanes;
    const long long chunks = steps ? (steps + chunk - 1) / chunk : 1;
    GRID_STRIDE(n, groups * chunks) {
        const long long group = n % groups, begin = n / groups * chunk, end = min(begin + chunk, steps);
        unsigned words[WORDS] = {unsigned(group), unsigned(group >> 32), unsigned(draw), unsigned(draw >> 32)};
        philox(words, unsigned(key), unsigned(key >> 32));
        const long long first = group / lanes * (WORDS * lanes) + group % lanes;
#pragma unroll
        for (int i = 0; i < WORDS; ++i) {
            const long long m = first + i * lanes;
            if (m >= columns)
                continue;
            const real own = words[i] < silent ? real(0) : factor;
            if (begin == 0)
                scale[m] = own;
#pragma unroll 8
            for (long long t = begin; t < end; ++t)
                y[t * columns + m] = (fired ? real(spikes[t * columns + m]) : numbers[t * columns + m]) * own;
        }
    }
    if (is_last_block(arrived) && threadIdx.x == 0)
        state[1] = draw + 1;
}
