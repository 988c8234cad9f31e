// Windows of a convolution on packed images, for the warps of conv.cu and conv_neuron.cu.
//
// A line of an image is a row (columns, channels) of a frame; its bits are in words of 32, the first bit lowest. The
// rows of a window are ranges of bits of some lines. The 32 outputs of a warp are in one row of the result, so that
// their windows overlap or lie side by side: `View` is the rectangle of words that they cover, `Reader` reads these
// words once for all lanes and visits the spikes in them, `Taps` adds the weights of a spike to the total of a lane:
//
//       line y0    | . . . . . . . . | . 1 . . . . . . | . . . .      a lane loads a word; a round is 32 words, of
//       line y1    | . . . . . . 1 . | . . . . . . . . | . . . .      several steps where a step has fewer; a ballot
//       line y2    | . . . . . . . . | . . 1 . . . . . | . . . .      finds the words that are not empty; each of them
//                      [ window of lane 0 ]                           is broadcast, and its bits are visited in
//                           [ window of lane 1 ]                      ascending order by all lanes
//
// So a total is summed over lines, then columns, then channels, one weight after the other from 0: the order of
// spikes.py, hence its bits. A step costs some twenty instructions for each spike in the rectangle; empty words cost
// nothing.

// Rounds that a warp loads before it uses the first.
constexpr int ROUNDS = 4;
// Spikes of a word above which every place of it is tried.
constexpr int MANY = 16;

// Weights in dynamic shared memory, and after them what else a kernel stores there.
extern __shared__ real shared_weights[];

// Up to 32 outputs in a row of a map, one for each lane.
struct Outputs {
    int row;
    int column;   // of this lane
    int channel;  // of this lane
    int low;      // the first column of the warp
    int high;     // the last column of the warp
    bool used;    // whether this lane has an output
};

// The outputs at the bits 32 word, ... of a row of a map.
__device__ __forceinline__ Outputs outputs_of_word(int row, int word, int columns, int channels)
{
    const int first = LANES * word;
    const int bits = columns * channels;
    const int place = first + threadIdx.x;
    const int last = min(first + LANES, bits) - 1;
    return {row, place / channels, place % channels, first / channels, last / channels, place < bits};
}

// A word of the rectangle.
struct Item {
    int tap;        // the row of the window
    int bit;        // the place of its first bit in the line
    int offset;     // its place in the frame, in words
    unsigned kept;  // its bits that are in the rectangle; 0 where there is no such word
};

// The words of a frame that the windows of a warp cover, and how they are distributed over rounds and lanes.
struct View {
    Span rows;       // of the windows
    int gap;         // lines between two rows
    int line_words;  // words of a line
    int begin;       // the first bit of a line that is covered
    int end;         // the bit after the last
    int across;      // words of a row of the rectangle
    unsigned inverse;  // 2^31 / across, rounded up
    int items;       // words of the rectangle
    int fields;      // lanes that load the words of a step, or of a part of it
    int steps;       // steps of a round, which divide AHEAD; 1 if a step has several rounds
    int chunks;      // rounds of a step
    int step;        // the step of the round that this lane loads
    Item mine;       // the word that this lane loads in every round, if a step has one round

    __device__ __forceinline__ View(const Image &image, const Window &window, const Outputs &outputs)
        : rows(rows_of(window, image, outputs.row))
    {
        gap = window.gap_h;
        line_words = image.words;
        const int reach = (window.kernel_w - 1) * window.gap_w + 1;
        begin = max(outputs.low * window.across - window.left, 0) * image.channels;
        end = min(outputs.high * window.across - window.left + reach, image.columns) * image.channels;
        const bool empty = rows.past <= rows.first || end <= begin;
        across = empty ? 1 : (end - 1) / LANES - begin / LANES + 1;
        inverse = ((1u << 31) + across - 1) / across;
        items = empty ? 0 : (rows.past - rows.first) * across;
        fields = empty ? LANES : min(items, LANES);
        steps = LANES / fields >= AHEAD ? AHEAD : LANES / fields >= 4 ? 4 : LANES / fields >= 2 ? 2 : 1;
        chunks = max((items + LANES - 1) / LANES, 1);
        step = threadIdx.x / fields;
        mine = step < steps ? item(threadIdx.x % fields) : Item{};
    }

    __device__ __forceinline__ Item item(int number) const
    {
        const int row = number * (unsigned long long)inverse >> 31;  // number / across, as number across < 2^31
        const int word = begin / LANES + number - row * across;
        const int tap = rows.first + row;
        const int bit = word * LANES;
        const int low = max(begin - bit, 0);
        const int past = max(bit + LANES - end, 0);
        const unsigned kept = number < items ? ALL_LANES << low & ALL_LANES >> past : 0;
        return {tap, bit, (rows.start + tap * gap) * line_words + word, kept};
    }
};

// The frames of one sample.
struct Frames {
    const unsigned *first;
    long long stride;  // words from a step to the next
    long long steps;
};

// Visits the spikes of a view in batches of AHEAD steps.
struct Reader {
    int next;        // the step to load
    int loaded = 0;  // its chunks that are loaded
    unsigned queue[ROUNDS];

    // Begins at step `first`; there is nothing before step 0.
    __device__ __forceinline__ Reader(const View &view, const Frames &frames, long long first) : next(first)
    {
#pragma unroll
        for (int i = 0; i < ROUNDS; ++i)
            queue[i] = load(view, frames);
    }

    __device__ __forceinline__ unsigned load(const View &view, const Frames &frames)
    {
        const Item item = view.chunks > 1 ? view.item(loaded * LANES + threadIdx.x) : view.mine;
        const long long step = next + view.step;
        const bool inside = item.kept != 0 && 0 <= step && step < frames.steps;
        if (++loaded == view.chunks) {
            loaded = 0;
            next += view.steps;
        }
        return inside ? frames.first[step * frames.stride + item.offset] : 0;
    }

    // Calls visit(k, bits, tap, bit) for each word with spikes of the next AHEAD steps: the step within the batch, the
    // word, the row of the window, and the place of the word in its line.
    template <typename Visit>
    __device__ __forceinline__ void batch(const View &view, const Frames &frames, Visit visit)
    {
        int chunk = 0;
        for (int k = 0; k < AHEAD;) {
            const Item item = view.chunks > 1 ? view.item(chunk * LANES + threadIdx.x) : view.mine;
            const unsigned word = queue[0] & item.kept;
#pragma unroll
            for (int i = 1; i < ROUNDS; ++i)
                queue[i - 1] = queue[i];
            queue[ROUNDS - 1] = load(view, frames);
            unsigned present = __ballot_sync(ALL_LANES, word != 0);
            while (present) {
                const int lane = __ffs(present) - 1;
                const int step = __shfl_sync(ALL_LANES, view.step, lane);
                const unsigned bits = __shfl_sync(ALL_LANES, word, lane);
                const int tap = __shfl_sync(ALL_LANES, item.tap, lane);
                const int bit = __shfl_sync(ALL_LANES, item.bit, lane);
                visit(k + step, bits, tap, bit);
                present &= present - 1;
            }
            if (++chunk == view.chunks) {
                chunk = 0;
                k += view.steps;
            }
        }
    }
};

// The weights of the window of a lane.
struct Taps {
    const real *weights;  // of this lane's output, the next one `outputs` further
    bool contiguous;   // whether the bits of a row are one range, one bit for each weight
    int first;         // the place of the first bit of the window in a line, negative in the padding
    int span;          // bits of a line from the first to the last of the window; 0 for a lane without output
    int channels;      // of the input
    int gap;           // columns between two taps
    int kernel_w;      // taps of a row
    int inputs;        // input channels of a group
    int first_input;   // the first of them
    int outputs;       // output channels

    __device__ __forceinline__ Taps(
        const real *w, bool in_shared, const Image &image, const Window &window, const Outputs &lane, int outputs,
        int groups)
        : weights((in_shared ? shared_weights : w) + lane.channel),
          contiguous(groups == 1 && window.gap_w == 1), channels(image.channels), gap(window.gap_w),
          kernel_w(window.kernel_w), inputs(image.channels / groups), outputs(outputs)
    {
        first = (lane.column * window.across - window.left) * channels;
        span = lane.used ? ((kernel_w - 1) * gap + 1) * channels : 0;
        first_input = lane.channel / (outputs / groups) * inputs;
    }

    // Adds the weight of a spike to the total of this lane.
    __device__ __forceinline__ void add(real &total, int tap, int bit) const
    {
        const unsigned offset = bit - first;
        if (offset >= unsigned(span))
            return;
        if (contiguous) {
            total += weights[(tap * span + offset) * outputs];
            return;
        }
        const unsigned column = offset / unsigned(channels);
        const unsigned input = offset % unsigned(channels) - first_input;
        if (column % unsigned(gap) == 0 && input < unsigned(inputs))
            total += weights[((tap * kernel_w + column / unsigned(gap)) * inputs + input) * outputs];
    }

    // Adds the weights of the spikes of a word to the total of this lane, in ascending order. Of a word with many spikes
    // every place is tried, which takes 12 instructions for a place against 21 for a spike, and reads 4 weights at a time.
    // The sum has the same terms in the same order.
    __device__ __forceinline__ void add_word(real &total, unsigned bits, int tap, int bit) const
    {
        if (!contiguous || __popc(bits) <= MANY) {
            for (; bits; bits &= bits - 1)
                add(total, tap, bit + __ffs(bits) - 1);
            return;
        }
        unsigned offset = bit - first;
        const real *weight = weights + (tap * span + bit - first) * outputs;
#pragma unroll 4
        for (int place = 0; place < LANES; ++place, bits >>= 1, ++offset, weight += outputs)
            if ((bits & 1) && offset < unsigned(span))
                total += *weight;
    }

    // Writes the totals of the next AHEAD steps of a reader to row(0), row(1), ...
    template <typename Row>
    __device__ __forceinline__ void weigh(Reader &reader, const View &view, const Frames &frames, Row row) const
    {
#pragma unroll
        for (int k = 0; k < AHEAD; ++k)
            row(k) = 0;
        real total = 0;
        int step = 0;
        reader.batch(view, frames, [&](int k, unsigned bits, int tap, int bit) {
            if (k != step) {
                row(step) = total;
                total = 0;
                step = k;
            }
            add_word(total, bits, tap, bit);
        });
        row(step) = total;
    }
};

// Copies the weights to shared memory.
__device__ __forceinline__ void copy_weights(const real *w, int count)
{
    const int threads = blockDim.x * blockDim.y * blockDim.z;
    const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    for (int i = thread; i < count; i += threads)
        shared_weights[i] = w[i];
    __syncthreads();
}
