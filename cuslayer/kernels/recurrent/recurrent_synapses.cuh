// Layers from a population to itself: a dense layer, or a convolution that keeps the frame.
//
// Forward, the weights of the spikes are added in the order of kernels/recurrent/synapses.py, hence with its bits.

struct Synapse {
    const real *w;  // dense: (lags, neurons, neurons), a row for each sender; convolution: (kernel_h, kernel_w, channels of
                    // a group, channels). Backward, the last two axes are exchanged.
    long long neurons, lags;
    Map frame;
    Window window;
    int groups;

    __device__ __forceinline__ bool dense() const
    {
        return window.kernel_h == 0;
    }

    // Returns what neuron j gets from the spikes of `count` words of each lag; `words` has `ring` steps, and step `latest`
    // has lag 0.
    __device__ __forceinline__ real sent(
        const unsigned *words, long long latest, long long ring, int count, int j) const
    {
        return dense() ? sum_of_rows(words, latest, ring, count, j) : sum_of_taps(words + latest % ring * count, j);
    }

    // Adds rows of NEIGHBOURS to each other first, as `gather` of kernels/synapse/dense/cpu.py does.
    __device__ __forceinline__ real sum_of_rows(
        const unsigned *words, long long latest, long long ring, int count, int j) const
    {
        real total = 0, some = 0;
        unsigned last = 0;
        for (long long lag = 0; lag < lags; ++lag) {
            const unsigned *const sent = words + (latest + ring - lag) % ring * count;
            for (int word = 0; word < count; ++word)
                for (unsigned bits = sent[word]; bits; bits &= bits - 1) {
                    const long long row = lag * neurons + word * LANES + __ffs(bits) - 1;
                    const unsigned neighbours = unsigned(row) / NEIGHBOURS;
                    const real value = w[row * neurons + j];
                    total += neighbours == last ? 0 : some;
                    some = neighbours == last ? some + value : value;
                    last = neighbours;
                }
        }
        return total + some;
    }

    // Adds one weight after the other: spikes ascend with the taps of the window.
    __device__ __forceinline__ real sum_of_taps(const unsigned *words, int j) const
    {
        real total = 0;
        for_each_tap<1>(j, [&](int tap, int low, int high, int channel) {
            const real *const weights = w + (long long)tap * (high - low) * frame.channels + channel;
            for (int bit = low / LANES * LANES; bit < high; bit += LANES) {
                const unsigned kept = ALL_LANES << max(low - bit, 0) & ALL_LANES >> max(bit + LANES - high, 0);
                for (unsigned bits = words[bit / LANES] & kept; bits; bits &= bits - 1)
                    total += weights[(bit + __ffs(bits) - 1 - low) * frame.channels];
            }
        });
        return total;
    }

    // Adds the errors of a step that come back to neuron j, through the weights of a lag.
    __device__ __forceinline__ void add_rows(real &total, const real *errors, long long lag, int j) const
    {
        for (int i = 0; i < neurons; ++i)
            total += errors[i] * w[(lag * neurons + i) * neurons + j];
    }

    __device__ __forceinline__ void add_taps(real &total, const real *errors, int j) const
    {
        for_each_tap<-1>(j, [&](int tap, int low, int high, int channel) {
            const int width = high - low, first = channel / width * width;
            const real *const weights = w + ((long long)tap * frame.channels + first) * width + channel - first;
            for (int i = 0; i < width; ++i)
                total += errors[low + i] * weights[i * width];
        });
    }

    // Calls visit(tap, low, high, channel) for each tap of the window, ascending: neurons low <= i < high, of the group of
    // neuron j and one pixel, reach j through the tap; with direction -1, j reaches them.
    template <int direction, typename Visit>
    __device__ __forceinline__ void for_each_tap(int j, Visit visit) const
    {
        const int width = frame.channels / groups, pixel = j / frame.channels, channel = j % frame.channels;
        const int row = pixel / frame.columns - direction * window.top;
        const int column = pixel % frame.columns - direction * window.left;
        for (int tap_row = 0; tap_row < window.kernel_h; ++tap_row) {
            const int other_row = row + direction * window.gap_h * tap_row;
            if (other_row < 0 || other_row >= frame.rows)
                continue;
            for (int tap_column = 0; tap_column < window.kernel_w; ++tap_column) {
                const int other_column = column + direction * window.gap_w * tap_column;
                if (other_column < 0 || other_column >= frame.columns)
                    continue;
                const int low = (other_row * frame.columns + other_column) * frame.channels + channel / width * width;
                visit(tap_row * window.kernel_w + tap_column, low, low + width, channel);
            }
        }
    }
};
