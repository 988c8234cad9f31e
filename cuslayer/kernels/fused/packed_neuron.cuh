// What the fused kernels of images share: a lane is a neuron, and the spikes of a warp at one step are a word, bit i
// from lane i.

// The weighted input of this lane at the steps of the current batch, and at those that leave the response meanwhile: a
// column of shared memory. With a ring buffer, row (t modulo rows) has the input of step t, and rows >= cut + AHEAD.
// Without, the first AHEAD rows have the inputs that enter, the others those that leave.
struct Inputs {
    real *column;
    int rows;     // a multiple of AHEAD
    int entering; // the row of the first step of the batch
    int leaving;  // the row of the input that leaves at this step

    __device__ __forceinline__ Inputs(real *rows_of_warp, int rows, bool ring, long long cut)
        : column(rows_of_warp + threadIdx.x), rows(rows), entering(0), leaving(ring ? rows - int(cut) : AHEAD)
    {
        for (int i = 0; i < rows; ++i)
            column[i * LANES] = 0;
    }

    __device__ __forceinline__ real &enters(int i) const { return column[(entering + i) * LANES]; }

    __device__ __forceinline__ real &leaves(int i) const
    {
        const int row = leaving + i;
        return column[(row < rows ? row : row - rows) * LANES];
    }

    // Turns a ring buffer to the next batch.
    __device__ __forceinline__ void turn()
    {
        entering = entering + AHEAD < rows ? entering + AHEAD : 0;
        leaving = leaving + AHEAD < rows ? leaving + AHEAD : leaving + AHEAD - rows;
    }
};

// How potentials are saved: not at all, as `real`, or, with any other number, as float16.
constexpr int KEEP_NONE = 0;
constexpr int KEEP_REAL = 1;

// Saves a potential at place i of the array for the kept type.
__device__ __forceinline__ void save(real potential, int keep, real *u, float16 *half, long long i)
{
    if (keep == KEEP_NONE)
        return;
    if (keep == KEEP_REAL)
        u[i] = potential;
    else
        half[i] = to_float16(potential);
}
