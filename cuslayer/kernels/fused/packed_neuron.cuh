// Neurons of the spike response model for the fused kernels: a lane is a neuron, and the spikes of a warp at one step
// are a word, bit i from lane i. The recurrence is that of `neuron` in kernels/srm/srm.cu.

// The largest cut of the refractory response for which the spikes of a lane are kept in a register.
constexpr long long REGISTER_STEPS = 64;

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

// The constants of a layer of neurons; see `neuron` in kernels/srm/srm.cu.
struct Constants {
    real theta;
    real decay;
    real gain;
    long long cut;
    real cut_p;
    real cut_q;
    real ref_decay;
    real ref_gain;
    long long ref_cut;
    real ref_cut_p;
    real ref_cut_q;
};

// The state of the neuron of this lane. The constants are no part of it, so that they take no registers.
struct PackedNeuron {
    real q = 0;
    real p = 0;
    real ref_q = 0;
    real ref_p = 0;
    unsigned long long recent = 0;  // the last 64 spikes of this lane
    unsigned past = 0;              // bit i, in the batch from step t on: whether this lane fired at step t - ref_cut + i
    unsigned fired = 0;             // lane i < AHEAD: the word of step t + i

    // Takes the past spikes from words of memory; that of step t - ref_cut + i is given by lane i.
    __device__ __forceinline__ void recall(unsigned word)
    {
        past = 0;
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            past |= (__shfl_sync(ALL_LANES, word, i) >> threadIdx.x & 1) << i;
    }

    // The potential of step t + i of the batch of AHEAD steps that begins at t, a multiple of AHEAD.
    __device__ __forceinline__ real step(
        const Constants &c, long long t, int i, real entering, real leaving, bool used)
    {
        Recurrence response{c.decay, c.gain, c.cut_p, c.cut_q, q, p};
        Recurrence refractory{c.ref_decay, c.ref_gain, c.ref_cut_p, c.ref_cut_q, ref_q, ref_p};
        const unsigned in_register = recent >> (min(c.ref_cut, REGISTER_STEPS) - 1);
        const real old_spike = int((c.ref_cut <= REGISTER_STEPS ? in_register : past >> i) & 1);
        response.flush(t + i);
        refractory.flush(t + i);
        const real u = response.output(leaving) + refractory.output(old_spike);
        const bool fires = u >= c.theta;
        response.accept(entering, leaving);
        refractory.accept(fires, old_spike);
        q = response.q;
        p = response.p;
        ref_q = refractory.q;
        ref_p = refractory.p;
        recent = recent << 1 | fires;
        const unsigned word = __ballot_sync(ALL_LANES, used && fires);
        if (threadIdx.x == i)
            fired = word;
        return u;
    }
};

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
