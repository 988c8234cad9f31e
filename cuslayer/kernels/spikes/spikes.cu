// Packed spikes: a boolean array as bits, and back; bits from events; time along the bits.
//
//   pack_bits, unpack_bits      bit b of words[r, w] = x[r, 32 w + b]
//   set_bits                    the bit of each event, 1 in both layouts
//   transpose_bits              bit b of by_neuron[f, n, v] = bit of feature f in frame (32 v + b, n)
//
// Layout: a frame is cut into lines, each of which begins with a word of its own: words (frames, lines, per_line), where
// frames are ordered by step, then sample. by_neuron (features, samples, time_words) has time along the bits; feature f
// is place f % line of line f / line. The bits past the end of a line and past the last step are 0. C-contiguous.
// An event is one word, step << feature_bits | feature, or two, feature and step.
//
// A warp packs and unpacks 32 consecutive words, 128 bytes. It reads the range of x that they are sector by sector, and
// writes at each of 32 steps the 32 bytes of one word. A thread sets the bits of one event after another: an atomic OR
// of bits is exact in any order, and every other output has one owner. A warp of transpose_bits reads 32 steps of 8
// words of a sample and transposes 8 matrices of 32 x 32 bits by shuffles. Its block of 8 warps writes 8 words of a
// feature together: reads and writes are whole sectors where rows of words begin at one.
// Precision: integers. Twins: tests/support/packed_bits.py. Tests: tests/kernels/test_twins_spikes.py.

constexpr int WORD = 32;
constexpr unsigned ALL_LANES = 0xFFFFFFFF;

// Words of a frame and columns, pairs of sample and time word, that a block of transpose_bits takes.
constexpr int SIDE = 8;
// Rows of SIDE words that a warp accesses together.
constexpr int ROWS = WORD / SIDE;
// Bytes that a lane of pack_bits loads before it uses the first.
constexpr int LOADS = 8;

// Where a word has its bits in the boolean array, and how many.
struct Bits {
    long long first;
    int count;
};

__device__ __forceinline__ Bits bits_of(long long word, long long per_line, long long line)
{
    const long long row = word / per_line, place = word % per_line * WORD;
    return {row * line + place, int(min((long long)WORD, line - place))};
}

extern "C" __global__ void pack_bits(
    const bool *__restrict__ x,    // (rows, line)
    unsigned *__restrict__ words,  // (rows, per_line), written
    long long count,               // words, rows x per_line
    long long per_line,            // words of a line
    long long line)                // bits of a line
{
    const int lane = threadIdx.x % WORD;
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x - lane; first < count; first += threads) {
        const long long mine = first + lane;
        const Bits bits = bits_of(min(mine, count - 1), per_line, line);
        // The words of the warp are a range of x. Votes on 32 elements of a sector each are this range as bits: lane i
        // keeps vote i, all lanes the last. A word has bits of two votes.
        const long long begin = __shfl_sync(ALL_LANES, bits.first, 0);
        const long long end = __shfl_sync(ALL_LANES, bits.first + bits.count, WORD - 1);
        const long long from = begin / WORD * WORD;
        unsigned vote = 0, last_vote = 0;
        for (int i = 0; from + i * WORD < end; i += LOADS) {
            bool spikes[LOADS];
#pragma unroll
            for (int j = 0; j < LOADS; ++j) {
                const long long place = from + (i + j) * WORD + lane;
                spikes[j] = begin <= place && place < end && x[place];
            }
#pragma unroll
            for (int j = 0; j < LOADS; ++j) {
                const unsigned made = __ballot_sync(ALL_LANES, spikes[j]);
                vote = lane == i + j ? made : vote;
                last_vote = i + j == WORD ? made : last_vote;
            }
        }
        const int skipped = int(bits.first - from), source = skipped / WORD;
        const unsigned low = __shfl_sync(ALL_LANES, vote, source);
        const unsigned next = __shfl_sync(ALL_LANES, vote, (source + 1) % WORD);
        const unsigned word = __funnelshift_r(low, source + 1 < WORD ? next : last_vote, skipped % WORD);
        if (mine < count)
            words[mine] = word & ALL_LANES >> (WORD - bits.count);
    }
}

extern "C" __global__ void unpack_bits(
    const unsigned *__restrict__ words,  // (rows, per_line)
    bool *__restrict__ x,                // (rows, line), written
    long long count,                     // words, rows x per_line
    long long per_line,                  // words of a line
    long long line)                      // bits of a line
{
    const int lane = threadIdx.x % WORD;
    const long long threads = (long long)gridDim.x * blockDim.x;
    for (long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x - lane; first < count; first += threads) {
        const long long mine = first + lane;
        const Bits bits = mine < count ? bits_of(mine, per_line, line) : Bits{0, 0};
        const unsigned word = mine < count ? words[mine] : 0;
#pragma unroll 8
        for (int i = 0; i < WORD; ++i) {
            const long long to = __shfl_sync(ALL_LANES, bits.first, i);
            const unsigned packed = __shfl_sync(ALL_LANES, word, i);
            if (lane < __shfl_sync(ALL_LANES, bits.count, i))
                x[to + lane] = packed >> lane & 1;
        }
    }
}

extern "C" __global__ void set_bits(
    const unsigned *__restrict__ events,       // (events, event_words), of all recordings
    const long long *__restrict__ begin,       // (recordings + 1,), the first event of each
    const long long *__restrict__ recordings,  // (samples,), the recording of each sample
    unsigned *__restrict__ words,              // (steps x samples, lines, per_line), its bits are set
    unsigned *__restrict__ by_neuron,          // (lines x line, samples, time_words), its bits are set
    int event_words,                           // words of an event, 1 or 2
    int feature_bits,                          // bits of an event of one word that are its feature, below 32
    long long samples,                         // samples of the batch, the first extent of the grid
    long long lines,                           // lines of a frame
    long long per_line,                        // words of a line
    long long line,                            // bits of a line
    long long time_words)                      // words of all steps
{
    const long long n = blockIdx.x, recording = recordings[n], end = begin[recording + 1];
    const long long threads = (long long)gridDim.y * blockDim.x;
    const long long thread = (long long)blockIdx.y * blockDim.x + threadIdx.x;
    for (long long e = begin[recording] + thread; e < end; e += threads) {
        const unsigned event = events[e * event_words];
        const unsigned step = event_words > 1 ? events[e * event_words + 1] : event >> feature_bits;
        const unsigned feature = event_words > 1 ? event : event & ((1u << feature_bits) - 1);
        const unsigned row = feature / unsigned(line), place = feature % unsigned(line);
        atomicOr(words + ((step * samples + n) * lines + row) * per_line + place / WORD, 1u << place % WORD);
        atomicOr(by_neuron + (feature * samples + n) * time_words + step / WORD, 1u << step % WORD);
    }
}

// Transposes a matrix of 32 x 32 bits whose row i is the word of lane i: exchanges the two blocks beside the diagonal,
// of 16 x 16 bits, then those of 8 x 8 within each quarter, down to single bits.
__device__ __forceinline__ unsigned transposed(unsigned word, int lane)
{
    unsigned low = 0x0000FFFF;  // in each pair of blocks, the columns of the first
#pragma unroll
    for (int side = WORD / 2; side > 0; side /= 2) {
        const unsigned other = __shfl_xor_sync(ALL_LANES, word, side);
        word = lane & side ? (word & ~low) | (other >> side & low) : (word & low) | (other << side & ~low);
        low ^= low << side / 2;
    }
    return word;
}

// The place of a word in the shared memory of transpose_bits. Its columns are permuted from row to row: the 32 words of
// one column, and those of ROWS rows, lie in different banks.
__device__ __forceinline__ int cell(int row, int column)
{
    return row * SIDE + (column ^ row / ROWS % SIDE);
}

extern "C" __global__ void transpose_bits(
    const unsigned *__restrict__ words,  // (steps x samples, lines, per_line)
    unsigned *__restrict__ by_neuron,    // (lines x line, samples, time_words), written
    long long steps,                     // time steps
    long long samples,                   // samples
    long long lines,                     // lines of a frame
    long long per_line,                  // words of a line
    long long line,                      // bits of a line
    long long time_words)                // words of all steps
{
    __shared__ unsigned tile[SIDE * WORD * SIDE];
    const long long frame = lines * per_line, columns = samples * time_words, across = (columns + SIDE - 1) / SIDE;
    const long long first_word = blockIdx.x / across * SIDE, first_column = blockIdx.x % across * SIDE;
    const int lane = threadIdx.x % WORD, warp = threadIdx.x / WORD;

    // Warp k loads the words of column k, SIDE lanes a step; row i of its part of the tile is step i.
    const long long column = first_column + warp, word = first_word + lane % SIDE;
    const long long n = column / time_words, first_step = column % time_words * WORD;
#pragma unroll
    for (int i = 0; i < WORD; i += ROWS) {
        const int row = i + lane / SIDE;
        const bool inside = column < columns && word < frame && first_step + row < steps;
        tile[cell(warp * WORD + row, lane % SIDE)] =
            inside ? words[((first_step + row) * samples + n) * frame + word] : 0;
    }
    __syncwarp();
    unsigned bits[SIDE];
#pragma unroll
    for (int j = 0; j < SIDE; ++j)
        bits[j] = transposed(tile[cell(warp * WORD + lane, j)], lane);
    __syncthreads();
    // Row 32 j + b of the tile is bit b of word j, its places are the columns.
#pragma unroll
    for (int j = 0; j < SIDE; ++j)
        tile[cell(j * WORD + lane, warp)] = bits[j];
    __syncthreads();
    // Warp k writes the bits of word k, SIDE lanes a bit.
    const long long owned = first_word + warp, first_place = owned % per_line * WORD;
    const long long first_feature = owned / per_line * line + first_place, to = first_column + lane % SIDE;
#pragma unroll
    for (int i = 0; i < WORD; i += ROWS) {
        const int bit = i + lane / SIDE;
        if (owned < frame && first_place + bit < line && to < columns)
            by_neuron[(first_feature + bit) * columns + to] = tile[cell(warp * WORD + bit, lane % SIDE)];
    }
}
