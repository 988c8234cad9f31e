// Neurons of any kind in fused forward passes: `Kind` is the struct of the kind. A step may use one input and one spike of
// earlier steps; numbers of steps that are too large for a pass count as never.

// Whether inputs are used again.
constexpr bool REMEMBERS = Kind::PAST_INPUTS > 0;

// The steps after which an input and a spike are used again; never if >= steps.
__device__ __forceinline__ constexpr long long reach_of(const Numbers &c)
{
    return REMEMBERS ? Kind::input_lag(c, 0) : 1ll << 62;
}

__device__ __forceinline__ constexpr long long ref_reach_of(const Numbers &c)
{
    return Kind::PAST_SPIKES ? Kind::spike_lag(c, 0) : 0;
}

// One neuron. The constants of all neurons are no part of it, so that they take no registers.
struct Neuron {
    Kind kind;
    real state[Kind::STATES] = {};

    __device__ __forceinline__ Neuron(const Numbers &c, const real *constants, long long column)
    {
        kind.load(constants + column % c.period, c.period);
    }

    // Returns the potential of step t.
    __device__ __forceinline__ real step(
        const Numbers &c, long long t, real entering, real leaving, real old_spike, bool &fires)
    {
        real potential, kept[Kind::SAVED + 1];
        fires = kind.forward(c, state, &entering, &leaving, &old_spike, t, potential, kept);
        return potential;
    }
};

// The spikes of the 32 steps from `first` on, 0 before step 0, from the words of a neuron.
__device__ __forceinline__ unsigned spikes_from(const unsigned *words, long long first)
{
    const long long word = first >> 5;
    const unsigned low = word >= 0 ? words[word] : 0, high = word + 1 >= 0 ? words[word + 1] : 0;
    return ((unsigned long long)high << 32 | low) >> (first & 31);
}

// The neurons of 32 outputs of a sample, one a lane, in a dense layer.
struct Walker : Neuron {
    const Numbers &c;
    real *past;           // the inputs that are used again, a ring of `kept` rows
    int kept;             // 0: what is used again is gathered again, or nothing is
    int slot = 0;         // of past, read and written next
    unsigned queue = 0;   // the spikes that are used again at the next steps, lowest bit first
    unsigned insert = 0;  // where a new spike enters the queue; 0 if it is used after more than 32 steps

    __device__ __forceinline__ Walker(
        const Numbers &c, const real *constants, long long column, real *past, int kept, long long steps)
        : Neuron(c, constants, column), c(c), past(past), kept(REMEMBERS ? kept : 0)
    {
        const long long lag = ref_reach_of(c);
        if (Kind::PAST_SPIKES && lag <= 32 && lag < steps)
            insert = 1u << (lag - 1);
    }

    __device__ __forceinline__ void begin()
    {
        for (int i = 0; i < kept; ++i)
            past[i * LANES] = 0;
    }

    // Reads the spikes that are used again at the 32 steps from `first` on.
    __device__ __forceinline__ void recall(const unsigned *words, long long first, long long steps)
    {
        if (ref_reach_of(c) > 32 && ref_reach_of(c) < steps)
            queue = spikes_from(words, first - ref_reach_of(c));
    }

    // Reads the inputs of AHEAD steps of a chunk, and those that are used again, 0 after the last step.
    __device__ __forceinline__ void read(
        real (&entering)[AHEAD], real (&leaving)[AHEAD], const real *entered, const real *left, int step, int count)
    {
#pragma unroll
        for (int k = 0; k < AHEAD; ++k) {
            entering[k] = step + k < count ? entered[(step + k) * LANES] : 0;
            leaving[k] = REMEMBERS && left && step + k < count ? left[(step + k) * LANES] : 0;
        }
        if (kept) {
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                leaving[k] = past[slot * LANES];
                past[slot * LANES] = entering[k];
                slot = slot + 1 == kept ? 0 : slot + 1;
            }
        }
    }

    // Step k of a batch of AHEAD steps: returns the potential.
    __device__ __forceinline__ real step(int k, real entering, real leaving, bool &fires)
    {
        const real value = Neuron::step(c, k, entering, leaving, queue & 1, fires);
        queue = queue >> 1 | (fires ? insert : 0);
        return value;
    }
};

// The largest number of steps after which a spike that is used again is in a register of PackedNeuron.
constexpr long long REGISTER_STEPS = 64;

// The neuron of this lane, in a layer of images.
struct PackedNeuron : Neuron {
    unsigned long long recent = 0;  // the last 64 spikes of this lane
    unsigned past = 0;              // bit i, in the batch from step t on: whether this lane fired at step t - reach + i
    unsigned fired = 0;             // lane i < AHEAD: the word of step t + i

    using Neuron::Neuron;

    // Takes the past spikes from words of memory; that of step t - reach + i is given by lane i.
    __device__ __forceinline__ void recall(unsigned word)
    {
        past = 0;
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            past |= (__shfl_sync(ALL_LANES, word, i) >> threadIdx.x & 1) << i;
    }

    // The potential of step i of a batch of AHEAD steps.
    __device__ __forceinline__ real step(const Numbers &c, int i, real entering, real leaving, bool used)
    {
        const long long lag = ref_reach_of(c);
        const unsigned in_register = recent >> (min(lag, REGISTER_STEPS) - 1);
        bool fires;
        const real old_spike = int((lag <= REGISTER_STEPS ? in_register : past >> i) & 1);
        const real u = Neuron::step(c, i, entering, leaving, old_spike, fires);
        recent = recent << 1 | fires;
        const unsigned word = __ballot_sync(ALL_LANES, used && fires);
        if (threadIdx.x == i)
            fired = word;
        return u;
    }
};
