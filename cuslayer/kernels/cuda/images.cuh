// What the kernels of images share: sizes and windows, which launchers pass by value (images.py).

// Frames of an input; frames of numbers have no words.
struct Image {
    int height;
    int columns;
    int channels;
    int words;  // of a line of packed spikes, columns x channels bits
};

// Frames of an output, likewise.
struct Map {
    int rows;
    int columns;
    int channels;
    int words;
};

// See `Window` of kernels/constants.py.
struct Window {
    int kernel_h;
    int kernel_w;
    int down;    // rows between windows
    int across;  // columns between windows
    int top;     // rows of padding
    int left;    // columns of padding
    int gap_h;   // rows between taps
    int gap_w;   // columns between taps
};

// The taps of a window along one axis.
struct Span {
    int start;  // the place of tap 0, negative in the padding
    int first;  // the first tap inside the image
    int past;   // the tap after the last

    __device__ __forceinline__ Span(int output, int stride, int padding, int gap, int taps, int size)
        : start(output * stride - padding), first(start < 0 ? (gap - 1 - start) / gap : 0),
          past(start < size ? min(taps, (size - 1 - start) / gap + 1) : 0)
    {
    }
};

__device__ __forceinline__ Span rows_of(const Window &window, const Image &image, int row)
{
    return {row, window.down, window.top, window.gap_h, window.kernel_h, image.height};
}

__device__ __forceinline__ Span columns_of(const Window &window, const Image &image, int column)
{
    return {column, window.across, window.left, window.gap_w, window.kernel_w, image.columns};
}

// The output of a map that pixel (row, column) of the image reaches through tap (i, j); -1 if there is none.
__device__ __forceinline__ int reached(const Window &window, const Map &map, int row, int column, int i, int j)
{
    const int down = row + window.top - i * window.gap_h;
    const int across = column + window.left - j * window.gap_w;
    if (down < 0 || across < 0 || down % window.down != 0 || across % window.across != 0)
        return -1;
    const int y = down / window.down, x = across / window.across;
    return y < map.rows && x < map.columns ? y * map.columns + x : -1;
}
