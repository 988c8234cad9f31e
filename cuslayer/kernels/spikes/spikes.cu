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
// writes at each of 32 steps the 32 bytes of one word. A warp of transpose_bits reads 32 steps of 8 words of a sample and
// transposes 8 matrices of 32 x 32 bits by shuffles. Its block of 8 warps writes 8 words of a feature together: reads and
// writes are whole sectors where rows of words begin at one.
//
// A block of set_bits owns a tile of one sample, some words of a frame by some words of time, which it has in shared
// memory in both layouts. A thread takes one event of the sample after another, and sets the two bits of those in the
// tile: an atomic OR of bits is exact in any order. Then the block writes the tile, lanes along the rows of each layout.
// They are as long as shared memory allows with enough blocks for the device, and begin anywhere in a sector: of 300
// steps of 34 x 34 x 2 neurons they are 68 and 40 bytes, and 61 % of the sectors written are needed. What two blocks
// write of a sector is joined by the L2 cache.
// Precision: integers. Twins: tests/support/packed_bits.py. Tests: tests/kernels/test_twins_spikes.py.

constexpr int WORD = 32;
constexpr unsigned ALL_LANES = 0xFFFFFFFF;

// Words of a frame and columns, pairs of sample and time word, that a block of transpose_bits takes.
constexpr int SIDE = 8;
// Rows of SIDE words that a warp accesses together.
constexpr int ROWS = WORD / SIDE;
// Bytes that a lane of pack_bits loads before it uses the first, and events that a thread of set_bits loads.
constexpr int LOADS = 8, EVENTS = 4;

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
    const bool *__restrict__ x,    // lines of bits
    unsigned *__restrict__ words,  // (count,), of all lines, written
    long long count,               // words
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
    const unsigned *__restrict__ words,  // (count,), of all lines
    bool *__restrict__ x,                // lines of bits, written
    long long count,                     // words
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

// The row and the column of a place of a matrix, of those that a thread visits at equal distances: the distance is added
// to both, which takes no division.
struct Place {
    unsigned row;
    unsigned column;

    __device__ __forceinline__ Place(unsigned place, unsigned columns) : row(place / columns), column(place % columns) {}
    __device__ __forceinline__ void advance(const Place &distance, unsigned columns)
    {
        row += distance.row;
        column += distance.column;
        if (column >= columns) {
            column -= columns;
            ++row;
        }
    }
};

struct Event {
    unsigned step;
    unsigned feature;
};

__device__ __forceinline__ Event event_at(const unsigned *event, int event_words, int feature_bits)
{
    const unsigned word = event[0];
    return event_words > 1 ? Event{event[1], word} : Event{word >> feature_bits, word & ((1u << feature_bits) - 1)};
}

extern __shared__ unsigned shared[];

extern "C" __global__ void set_bits(
    const unsigned *__restrict__ events,       // (events, event_words), of all recordings
    const long long *__restrict__ begin,       // (recordings + 1,), the first event of each
    const long long *__restrict__ recordings,  // (samples,), the recording of each sample
    unsigned *__restrict__ words,              // (steps x samples, lines, per_line), written
    unsigned *__restrict__ by_neuron,          // (lines x line, samples, time_words), written
    int event_words,                           // words of an event, 1 or 2
    int feature_bits,                          // bits of an event of one word that are its feature, below 32
    long long steps,                           // time steps
    long long samples,                         // samples of the batch
    long long lines,                           // lines of a frame
    long long per_line,                        // words of a line
    long long line,                            // bits of a line
    long long time_words,                      // words of all steps
    int tile_words,                            // words of a frame that a tile has
    int tile_times)                            // words of time that a tile has
{
    const unsigned thread = threadIdx.x, threads = blockDim.x;
    const long long frame = lines * per_line;
    const long long across = (frame + tile_words - 1) / tile_words, down = (time_words + tile_times - 1) / tile_times;
    const long long tile = blockIdx.x % (across * down), n = blockIdx.x / (across * down);
    const long long first_word = tile % across * tile_words, first_time = tile / across * tile_times;
    const long long first_step = first_time * WORD;
    // What the tile has of the frame, of the words of time and of the steps: less at the ends.
    const unsigned width = min((long long)tile_words, frame - first_word);
    const unsigned times = min((long long)tile_times, time_words - first_time);
    const unsigned height = min((long long)times * WORD, steps - first_step);
    unsigned *const frames = shared;                                   // (height, width)
    unsigned *const neurons = shared + WORD * tile_times * tile_words;  // (width x 32, times)

    for (unsigned i = thread; i < height * width; i += threads)
        frames[i] = 0;
    for (unsigned i = thread; i < width * WORD * times; i += threads)
        neurons[i] = 0;
    __syncthreads();

    const long long recording = recordings[n], first = begin[recording], end = begin[recording + 1];
    const unsigned tile_step = unsigned(first_step);
    // From a whole sector of events.
    for (long long e = first / SIDE * SIDE + thread; e < end; e += EVENTS * threads) {
        Event found[EVENTS];
#pragma unroll
        for (int j = 0; j < EVENTS; ++j) {
            const long long at = e + (long long)j * threads;
            const bool inside = first <= at && at < end;
            found[j] = inside ? event_at(events + at * event_words, event_words, feature_bits)
                              : Event{tile_step + height, 0};
        }
#pragma unroll
        for (int j = 0; j < EVENTS; ++j) {
            // Differences of unsigned numbers: what is before the tile is large, as what is after it.
            const unsigned step = found[j].step - tile_step;
            if (step >= height)
                continue;
            const unsigned row = found[j].feature / unsigned(line), place = found[j].feature % unsigned(line);
            const unsigned word = row * unsigned(per_line) + place / WORD - unsigned(first_word), bit = place % WORD;
            if (word >= width)
                continue;
            atomicOr(frames + step * width + word, 1u << bit);
            atomicOr(neurons + (word * WORD + bit) * times + step / WORD, 1u << step % WORD);
        }
    }
    __syncthreads();

    unsigned *const to = words + (first_step * samples + n) * frame + first_word;
    const Place apart(threads, width);
    Place at(thread, width);
    for (unsigned i = thread; i < height * width; i += threads) {
        to[at.row * (samples * frame) + at.column] = frames[i];
        at.advance(apart, width);
    }
    const unsigned lane = thread % WORD;
    const Place lanes_apart(WORD, times);
    for (unsigned w = thread / WORD; w < width; w += threads / WORD) {
        const Bits bits = bits_of(first_word + w, per_line, line);
        const unsigned *const from = neurons + w * WORD * times;
        Place mine(lane, times);
        for (unsigned i = lane; i < bits.count * times; i += WORD) {
            by_neuron[((bits.first + mine.row) * samples + n) * time_words + first_time + mine.column] = from[i];
            mine.advance(lanes_apart, times);
        }
    }
}

// Transposes a matrix of 32 x 32 bits whose row i is the word of lane i: exchanges the two blocks next to the diagonal,
// of 16 x 16 bits, then the blocks of 8 x 8 in each quarter, down to single bits.
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
// one column, and the words of ROWS rows, lie in different banks.
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
