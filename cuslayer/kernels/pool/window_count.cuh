// Counts of spikes in pooling windows on packed images, for the warps of pool.cu and pool_neuron.cu.
//
// A lane is an output: place p of a line of the result, column p / channels, channel p % channels. The bits of its
// window in a line of x are `channels gap_w` apart: where they span no more than 32 places, they are cut out of two
// words and counted by one instruction.

struct WindowCount {
    int words;        // of a line
    int gap_h;        // rows between taps
    int top;          // the line of row 0 of the window, negative in the padding
    int first_tap;    // the first row of the window inside the image
    int stop;         // the row after the last
    int first;        // the place of the first bit inside the line
    int apart;        // places between two bits
    int bits;         // bits of the window in a line
    bool one_word;    // whether they span at most 32 places
    unsigned mask;    // these bits, the first one lowest

    __device__ __forceinline__ WindowCount(int row, int place, const Image &image, const Window &window)
        : words(image.words), gap_h(window.gap_h)
    {
        const int gap_w = window.gap_w, channels = image.channels;
        top = row * window.down - window.top;
        first_tap = top < 0 ? (gap_h - 1 - top) / gap_h : 0;
        stop = top < image.height ? min(window.kernel_h, (image.height - 1 - top) / gap_h + 1) : 0;
        const int column = place / channels * window.across - window.left;
        const int skipped = column < 0 ? (gap_w - 1 - column) / gap_w : 0;
        const int past = column < image.columns ? min(window.kernel_w, (image.columns - 1 - column) / gap_w + 1) : 0;
        bits = max(past - skipped, 0);
        first = (column + skipped * gap_w) * channels + place % channels;
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
        for (int tap = first_tap; tap < stop; ++tap) {
            const unsigned *line = x + (top + tap * gap_h) * words;
#pragma unroll
            for (int i = 0; i < AHEAD; ++i)
                if (0 <= t + i && t + i < steps)
                    counts[i] += in_line(line + (t + i) * stride);
        }
    }
};
