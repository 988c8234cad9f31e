// Counts of spikes in pooling windows on packed images, for the warps of pool.cu and pool_neuron.cu.
//
// A lane is an output: place p of a line of the result, column p / channels, channel p % channels. The bits of its
// window in a line of x are `channels gap_w` apart: where they span no more than 32 places, they are cut out of two
// words and counted by one instruction.

struct WindowCount {
    int words;        // of a line
    int gap_h;        // rows between taps
    Span rows;        // of the window
    int first;        // the place of the first bit inside the line
    int apart;        // places between two bits
    int bits;         // bits of the window in a line
    bool one_word;    // whether they span at most 32 places
    unsigned mask;    // these bits, the first one lowest

    __device__ __forceinline__ WindowCount(int row, int place, const Image &image, const Window &window)
        : words(image.words), gap_h(window.gap_h), rows(rows_of(window, image, row))
    {
        const int gap_w = window.gap_w, channels = image.channels;
        const Span columns = columns_of(window, image, place / channels);
        bits = max(columns.past - columns.first, 0);
        first = (columns.start + columns.first * gap_w) * channels + place % channels;
        apart = gap_w * channels;
        one_word = (window.kernel_w - 1) * apart < LANES;
        mask = 0;
        if (one_word)
            for (int j = 0; j < bits; ++j)
                mask |= 1u << j * apart;
    }

    // The spikes of the window in a line.
    __device__ __forceinline__ int in_line(const unsigned *line) const
    {
        if (one_word) {
            if (mask == 0)
                return 0;
            const int word = first / LANES;
            const unsigned long long low = line[word];
            const unsigned long long high = word + 1 < words ? line[word + 1] : 0;
            return __popc(unsigned((high << LANES | low) >> first % LANES) & mask);
        }
        int sum = 0;
        for (int j = 0; j < bits; ++j) {
            const int bit = first + j * apart;
            sum += line[bit / LANES] >> bit % LANES & 1;
        }
        return sum;
    }

    // Counts the spikes at the AHEAD steps t, t + 1, ...; 0 outside of [0, steps). Their loads overlap.
    __device__ __forceinline__ void operator()(
        int (&counts)[AHEAD], const unsigned *x, long long t, long long steps, long long stride) const
    {
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            counts[i] = 0;
        for (int tap = rows.first; tap < rows.past; ++tap) {
            const unsigned *line = x + (rows.start + tap * gap_h) * words;
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (0 <= t + i && t + i < steps)
                    counts[i] += in_line(line + (t + i) * stride);
        }
    }
};
