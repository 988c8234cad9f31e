// Sums of errors over the spikes under the windows of a convolution, for conv_adjoint.cu, conv_neuron_adjoint.cu and
// conv_pool_adjoint.cu.

// A convolution's window over packed spikes whose lines are the rows (W, C) of an image. Its bits are numbered as the
// elements of a weight (kh, kw, C / groups). They are runs of successive bits of a line: of all taps of a row,
// or, with a dilation or groups, of each tap. A run is cut into pieces of 32 bits.
struct PackedWindow {
    const unsigned *x;  // (frames, height, words)
    const Image &image;  // of x
    const Window &window;
    int runs;           // of a row of the window
    int run;            // bits of a run

    __device__ __forceinline__ PackedWindow(const unsigned *x, const Image &image, const Window &window, int groups)
        : x(x), image(image), window(window)
    {
        runs = window.gap_w == 1 && groups == 1 ? 1 : window.kernel_w;
        run = window.kernel_w / runs * (image.channels / groups);
    }

    __device__ __forceinline__ int pieces() const { return window.kernel_h * runs * pieces_of_run(); }
    __device__ __forceinline__ int pieces_of_run() const { return (run + 31) / 32; }

    // The first bit of the window in piece q.
    __device__ __forceinline__ int first_bit(int q) const
    {
        return q / pieces_of_run() * run + q % pieces_of_run() * 32;
    }
};

// Where a piece of a window lies in each frame. Bits outside of the line are 0: they are padding.
struct Piece {
    long long word = 0;  // of a frame, with the first bit
    unsigned shift = 0;  // of the first bit
    unsigned mask = 0;   // of the bits of the piece
    bool low = false;    // whether `word` lies in the line,
    bool high = false;   // and the next word

    // Piece q of the window of output (y, x), the channels from `channel` on.
    __device__ __forceinline__ Piece(const PackedWindow &of, int y, int x, int channel, int q)
    {
        const Window &window = of.window;
        const int parts = of.pieces_of_run(), part = q % parts;
        const int line = y * window.down - window.top + q / parts / of.runs * window.gap_h;
        const int column = x * window.across - window.left + q / parts % of.runs * window.gap_w;
        const int bit = column * of.image.channels + channel + 32 * part, count = of.run - 32 * part;
        const int in_line = bit >> 5;
        shift = bit & 31;
        mask = count < 32 ? (1u << count) - 1 : 0xFFFFFFFF;
        word = (long long)line * of.image.words + in_line;
        const bool inside = 0 <= line && line < of.image.height;
        low = inside && 0 <= in_line && in_line < of.image.words;
        high = inside && 0 <= in_line + 1 && in_line + 1 < of.image.words;
    }

    __device__ __forceinline__ Piece() {}
};

// The output channels of a block: `lanes` of a group, or those that are left of it, or all of several small groups.
struct Lanes {
    int group, groups;  // the first group, and the number of groups
    int width;          // channels of each
    int first, used;    // the first output channel, and the number of channels

    __device__ __forceinline__ Lanes(int outputs, int all_groups, int lanes, int block)
    {
        const int of_group = outputs / all_groups, blocks = (of_group + lanes - 1) / lanes;
        groups = max(lanes / of_group, 1);
        width = min(lanes, of_group);
        group = block / blocks * groups;
        first = group * of_group + block % blocks * lanes;
        used = min(lanes, groups > 1 ? (all_groups - group) * of_group : of_group - block % blocks * lanes);
    }
};

// The outputs of a convolution in tiles, pooling windows or single pixels, numbered by sample, row and column.
struct Tiles {
    int rows, columns;            // of a map
    int height, width;            // of a tile
    int tile_rows, tile_columns;  // tiles of a map
    long long samples;
};

// A pixel of a sample's map, number `pixel` of a tile.
struct Place {
    long long sample;
    int y, x;
    bool inside;  // of the map

    __device__ __forceinline__ Place(const Tiles &tiles, long long tile, int pixel)
    {
        const int tile_of_map = tile % (tiles.tile_rows * tiles.tile_columns);
        sample = tile / (tiles.tile_rows * tiles.tile_columns);
        y = tile_of_map / tiles.tile_columns * tiles.height + pixel / tiles.width;
        x = tile_of_map % tiles.tile_columns * tiles.width + pixel % tiles.width;
        inside = sample < tiles.samples && y < tiles.rows && x < tiles.columns;
    }
};

// Sums over frames and outputs of the errors under which each bit of a window was a spike: the weight gradient.
//
// A block has blockDim.x = places x lanes threads: `places` pixels, of which each tile has height x width, and `lanes`
// channels of each. Thread (pixel, tile, lane) is number (pixel tiles + tile) lanes + lane. A thread adds the error of
// its output to its own column of shared memory, for each spike of its window: columns[bit][thread], so that the
// threads of a warp write to different banks and no sum is shared.
//
//     errors    [AHEAD][threads]            the errors of the batch
//     columns   [bits][threads]             sums of each thread
//     pieces    [2][AHEAD][windows][count]  the windows' spikes at AHEAD frames, and at those that are read meanwhile
//     busy      [3][AHEAD][windows]         bit b: one of the pieces b, b + 32, ... has a spike
//     first     [count]                     the first bit of each piece
//
// The block has a window for each place and group of channels. All lanes of a window have the same spikes: where they
// fill a warp, it does not diverge. Threads e = 0, 1, ... read a batch of AHEAD frames, a piece of a window each, while
// the batch before is added.
struct TapSums {
    PackedWindow packed;
    Tiles tiles;
    int places, lanes;
    Lanes of;
    int inputs;                 // channels of a group of the input
    int windows = 0;            // of the block
    int piece = 0, count = 0;   // the first piece that this block sums, and the number of pieces
    int bits = 0;               // of these pieces
    long long frame_words = 0;  // from a frame to the next one in time
    real *columns = nullptr, *errors = nullptr;
    unsigned *pieces = nullptr, *busy = nullptr;
    int *first = nullptr;
    long long tile = 0;     // the first of the block's tiles
    int batch = 0;          // batches that were read
    // The piece that this thread reads, and what it has read.
    Piece mine = {};
    const unsigned *frames = nullptr;
    int my_window = 0;
    unsigned low[AHEAD] = {}, high[AHEAD] = {};

    // Begins with the pieces of a block. Its arrays are laid out in shared memory and cleared.
    __device__ __forceinline__ void begin(real *shared, int from_piece, int pieces_of_block, long long frames)
    {
        windows = places * of.groups;
        piece = from_piece;
        count = pieces_of_block;
        bits = packed.first_bit(piece + count) - packed.first_bit(piece);
        frame_words = frames * packed.image.height * packed.image.words;
        errors = shared;
        columns = errors + AHEAD * blockDim.x;
        pieces = reinterpret_cast<unsigned *>(columns + bits * blockDim.x);
        busy = pieces + 2 * AHEAD * windows * count;
        first = reinterpret_cast<int *>(busy + 3 * AHEAD * windows);
        for (int i = threadIdx.x; i < bits * int(blockDim.x); i += blockDim.x)
            columns[i] = 0;
        for (int i = threadIdx.x; i < 3 * AHEAD * windows; i += blockDim.x)
            busy[i] = 0;
        for (int q = threadIdx.x; q < count; q += blockDim.x)
            first[q] = packed.first_bit(piece + q) - packed.first_bit(piece);
        __syncthreads();
    }

    __device__ __forceinline__ int tiles_of_block() const { return places / (tiles.height * tiles.width); }

    __device__ __forceinline__ Place place(int number) const
    {
        return {tiles, tile + number % tiles_of_block(), number / tiles_of_block()};
    }

    // Finds piece e of all windows.
    __device__ __forceinline__ void find(int e)
    {
        mine = {};
        if (e >= windows * count)
            return;
        my_window = e / count;
        const Place at = place(my_window / of.groups);
        const int channel = (of.group + my_window % of.groups) * inputs;
        if (at.inside && channel < packed.image.channels)
            mine = {packed, at.y, at.x, channel, piece + e % count};
        frames = packed.x + at.sample * packed.image.height * packed.image.words;
    }

    // Reads the piece at the AHEAD frames from `frame` on; there is nothing from `end` on.
    __device__ __forceinline__ void read(long long frame, long long end)
    {
#pragma unroll
        for (int j = 0; j < AHEAD; ++j) {
            const unsigned *const word = frames + (frame + j) * frame_words + mine.word;
            low[j] = mine.low && frame + j < end ? word[0] : 0;
            high[j] = mine.high && frame + j < end ? word[1] : 0;
        }
    }

    // Puts what `read` has read into shared memory, and reads the pieces for which there is no thread.
    __device__ __forceinline__ void put(long long frame, long long end)
    {
        unsigned *const spikes = pieces + (batch & 1) * AHEAD * windows * count;
        unsigned *const any = busy + batch % 3 * AHEAD * windows;
        for (int e = threadIdx.x; e < windows * count; e += blockDim.x) {
            if (e >= blockDim.x) {
                find(e);
                read(frame, end);
            }
#pragma unroll
            for (int j = 0; j < AHEAD; ++j) {
                const unsigned found = __funnelshift_r(low[j], high[j], mine.shift) & mine.mask;
                spikes[j * windows * count + e] = found;
                if (found)
                    atomicOr(&any[j * windows + my_window], 1u << (e % count & 31));
            }
        }
        if (windows * count > blockDim.x)
            find(threadIdx.x);
        // The masks of the batch after this one replace those of the batch before, which nobody reads any more.
        for (int i = threadIdx.x; i < AHEAD * windows; i += blockDim.x)
            busy[(batch + 1) % 3 * AHEAD * windows + i] = 0;
        ++batch;
    }

    // Adds the error at frame j of the batch to the sums of all spikes of this thread's window.
    __device__ __forceinline__ void add(int j)
    {
        const int lane = threadIdx.x % lanes, last = batch - 1;
        const int here = threadIdx.x / lanes * of.groups + lane / of.width;
        const unsigned *const window_pieces = pieces + (((last & 1) * AHEAD + j) * windows + here) * count;
        real *const column = columns + threadIdx.x;
        const real error = errors[j * blockDim.x + threadIdx.x];
        for (unsigned rest = busy[(last % 3 * AHEAD + j) * windows + here]; rest; rest &= rest - 1)
            for (int q = __ffs(rest) - 1; q < count; q += 32) {
                const int begin = first[q] - 1;
                for (unsigned spikes = window_pieces[q]; spikes; spikes &= spikes - 1)
                    column[(begin + __ffs(spikes)) * blockDim.x] += error;
            }
    }

    // Adds the errors of the outputs of the block's tiles at the frames [begin, end), from the last to the first;
    // `begin` is a multiple of AHEAD. All threads call these functions of `source`:
    //     prepare(frame)        what a barrier has to separate from `compute`
    //     read(frame)           reads of global memory for AHEAD frames, while the batch before is added
    //     compute(frame, sums)  the errors at these frames
    template <typename Source>
    __device__ __forceinline__ void sum(Source &source, long long begin, long long end)
    {
        find(threadIdx.x);
        const long long last = begin + (end - 1 - begin) / AHEAD * AHEAD;
        read(last, end);
        put(last, end);
        source.prepare(last);
        source.read(last);
        __syncthreads();
        for (long long frame = last; frame >= begin; frame -= AHEAD) {
            const bool more = frame > begin;
            real error[AHEAD];
            source.compute(frame, error);
            // Indexed by a variable in `add`, they would not stay in registers.
#pragma unroll
            for (int j = 0; j < AHEAD; ++j)
                errors[j * blockDim.x + threadIdx.x] = error[j];
            if (more) {
                source.prepare(frame - AHEAD);
                source.read(frame - AHEAD);
                read(frame - AHEAD, end);
            }
#pragma unroll 1
            for (int j = AHEAD - 1; j >= 0; --j)
                add(j);
            if (more)
                put(frame - AHEAD, end);
            __syncthreads();
        }
    }

    // Writes the sums over the places of the block, in their order, to (bits of a window, outputs).
    __device__ __forceinline__ void write(real *part, long long outputs) const
    {
        real *const out = part + packed.first_bit(piece) * outputs + of.first;
        for (int i = threadIdx.x; i < bits * lanes; i += blockDim.x) {
            real total = 0;
            for (int number = 0; number < places; ++number)
                total += columns[i / lanes * blockDim.x + number * lanes + i % lanes];
            if (i % lanes < of.used)
                out[i / lanes * outputs + i % lanes] = total;
        }
    }
};
