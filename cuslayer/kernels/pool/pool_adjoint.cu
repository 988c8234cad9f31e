// The gradient of the input of sum pooling, from gradients of its output.
//
//   pool_adjoint   g_x[f, y, z, c] = gain sum_{i, j} g[f, r, k, c]
//
// over the outputs (r, k) with down r + gap_h i - top = y and across k + gap_w j - left = z.
//
// Layout: g is (frames, rows, out_columns, channels), x (frames, height, columns, channels), C-contiguous.
// A thread computes one element of x, neighbouring threads neighbouring channels and columns. The windows that have it
// are visited by i, then j, and summed from 0.
// Precision: `real`; the bits are the CPU's.
// Twin: kernels/pool/cpu.py. Tests: tests/kernels/test_twins_conv_adjoint.py.

extern "C" __global__ void pool_adjoint(
    const real *__restrict__ g,  // (frames, rows, out_columns, channels)
    real *__restrict__ x,        // (frames, height, columns, channels), written
    long long frames,            // frames
    int height,                  // rows of x
    int columns,                 // columns of x
    int channels,                // channels
    int rows,                    // rows of g
    int out_columns,             // columns of g
    int kernel_h,                // rows of the window
    int kernel_w,                // columns of the window
    int down,                    // rows between windows
    int across,                  // columns between windows
    int top,                     // rows of padding
    int left,                    // columns of padding
    int gap_h,                   // rows between taps
    int gap_w,                   // columns between taps
    real gain)                   // weight of each input
{
    GRID_STRIDE(n, frames * height * columns * channels) {
        const long long pixel = n / channels, frame = pixel / columns / height;
        const int y = pixel / columns % height, z = pixel % columns;
        real total = 0;
        for (int i = 0; i < kernel_h; ++i) {
            const int row = y + top - i * gap_h;
            if (row < 0 || row % down != 0 || row / down >= rows)
                continue;
            for (int j = 0; j < kernel_w; ++j) {
                const int column = z + left - j * gap_w;
                if (column >= 0 && column % across == 0 && column / across < out_columns)
                    total += g[((frame * rows + row / down) * out_columns + column / across) * channels + n % channels];
            }
        }
        x[n] = total * gain;
    }
}
