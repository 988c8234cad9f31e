// Neurons that are written as a step in fused forward passes, in the place of srm_neurons.cuh: `Kind` is the struct of one
// kind. Nothing leaves a response: the states have all that was.

// Whether inputs leave a response.
constexpr bool REMEMBERS = false;

// The constants of a layer of neurons.
struct Neurons {
    long long period;  // of the constants of each neuron: column m has those at m % period
};

__device__ __forceinline__ constexpr long long reach_of(const Neurons &)
{
    return 1ll << 62;
}

__device__ __forceinline__ constexpr long long ref_reach_of(const Neurons &)
{
    return 0;
}

// One neuron.
struct Stepped {
    Kind kind;
    real state[Kind::STATES] = {};

    __device__ __forceinline__ Stepped(
        const Neurons &of, const real *numbers, const real *constants, long long column)
    {
        kind.load(numbers, constants + column % of.period, of.period);
    }

    __device__ __forceinline__ real step(real entering, bool &fires)
    {
        real potential, kept[Kind::SAVED + 1];
        fires = kind.forward(state, &entering, potential, kept);
        return potential;
    }
};

// As in srm_neurons.cuh.
struct Walker : Stepped {
    __device__ __forceinline__ Walker(
        const Neurons &of, const real *numbers, const real *constants, long long column, real *, int, long long)
        : Stepped(of, numbers, constants, column)
    {
    }

    __device__ __forceinline__ void begin() {}

    __device__ __forceinline__ void recall(const Neurons &, const unsigned *, long long, long long) {}

    __device__ __forceinline__ void read(
        real (&entering)[AHEAD], real (&)[AHEAD], const real *entered, const real *, int step, int count)
    {
#pragma unroll
        for (int k = 0; k < AHEAD; ++k)
            entering[k] = step + k < count ? entered[(step + k) * LANES] : 0;
    }

    __device__ __forceinline__ real step(int, real entering, real, bool &fires)
    {
        return Stepped::step(entering, fires);
    }
};

constexpr long long REGISTER_STEPS = 0;

struct PackedNeuron : Stepped {
    unsigned fired = 0;

    using Stepped::Stepped;

    __device__ __forceinline__ void recall(unsigned) {}

    __device__ __forceinline__ real step(const Neurons &, long long, int i, real entering, real, bool used)
    {
        bool fires;
        const real u = Stepped::step(entering, fires);
        const unsigned word = __ballot_sync(ALL_LANES, used && fires);
        if (threadIdx.x == i)
            fired = word;
        return u;
    }
};
