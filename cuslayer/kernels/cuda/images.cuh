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
