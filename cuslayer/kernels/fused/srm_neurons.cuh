// Neurons of the spike response model in fused forward passes: the recurrence of `neuron` in kernels/srm/srm.cu. Inputs leave
// the response after `cut` steps, and spikes the refractory response. For neurons that are written as a step, printer.py
// puts kind_neurons.cuh in the place of this header.

// Whether inputs leave a response.
constexpr bool REMEMBERS = true;

// The constants of a layer of neurons.
struct Neurons {
    real theta;          // threshold
    real decay;          // exp(-dt / tau_sr)
    real gain;           // amplitude e dt / tau_sr
    long long cut;       // steps until an input leaves the response; none if >= steps
    real cut_p;          // decay^cut
    real cut_q;          // cut decay^cut
    real ref_decay;      // exp(-dt / tau_ref)
    real ref_gain;       // amplitude e dt / tau_ref, negative
    long long ref_cut;   // steps until a spike leaves the refractory response; none if >= steps
    real ref_cut_p;      // ref_decay^ref_cut
    real ref_cut_q;      // ref_cut ref_decay^ref_cut
};

// The steps until an input leaves the response, and a spike the refractory response; none if >= steps.
__device__ __forceinline__ long long reach_of(const Neurons &of)
{
    return of.cut;
}

__device__ __forceinline__ long long ref_reach_of(const Neurons &of)
{
    return of.ref_cut;
}

// The spikes of the 32 steps from `first` on, 0 before step 0, from the words of a neuron.
__device__ __forceinline__ unsigned spikes_from(const unsigned *words, long long first)
{
    const long long word = first >> 5;
    const unsigned low = word >= 0 ? words[word] : 0, high = word + 1 >= 0 ? words[word + 1] : 0;
    return ((unsigned long long)high << 32 | low) >> (first & 31);
}

// The neurons of 32 outputs of a sample, one a lane, in a dense layer.
struct Walker {
    Recurrence response;
    Recurrence nu;
    real theta;
    real *past;       // the inputs within the response, a ring of `kept` rows
    int kept;         // 0: what leaves the response is gathered again, or nothing leaves it
    int slot;         // of past, read and written next
    unsigned queue;   // the spikes that leave the refractory response at the next steps, lowest bit first
    unsigned insert;  // where a new spike enters the queue; 0 if it leaves after more than 32 steps

    __device__ __forceinline__ Walker(
        const Neurons &of, const real *, const real *, long long, real *past, int kept, long long steps)
        : response{of.decay, of.gain, of.cut_p, of.cut_q}, nu{of.ref_decay, of.ref_gain, of.ref_cut_p, of.ref_cut_q},
          theta(of.theta), past(past), kept(kept), slot(0), queue(0),
          insert(of.ref_cut <= 32 && of.ref_cut < steps ? 1u << (of.ref_cut - 1) : 0)
    {
    }

    __device__ __forceinline__ void begin()
    {
        for (int i = 0; i < kept; ++i)
            past[i * LANES] = 0;
    }

    // Reads the spikes that leave the refractory response at the 32 steps from `first` on.
    __device__ __forceinline__ void recall(const Neurons &of, const unsigned *words, long long first, long long steps)
    {
        if (of.ref_cut > 32 && of.ref_cut < steps)
            queue = spikes_from(words, first - of.ref_cut);
    }

    // Reads what enters the response at AHEAD steps of a chunk, and what leaves it, 0 after the last step.
    __device__ __forceinline__ void read(
        real (&entering)[AHEAD], real (&leaving)[AHEAD], const real *entered, const real *left, int step, int count)
    {
#pragma unroll
        for (int k = 0; k < AHEAD; ++k) {
            entering[k] = step + k < count ? entered[(step + k) * LANES] : 0;
            leaving[k] = left && step + k < count ? left[(step + k) * LANES] : 0;
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
        const real value = srm_forward(response, nu, k, theta, entering, leaving, queue & 1, fires);
        queue = queue >> 1 | (fires ? insert : 0);
        return value;
    }
};

// The largest cut of the refractory response for which the spikes of a lane of PackedNeuron are kept in a register.
constexpr long long REGISTER_STEPS = 64;

// The neuron of this lane, in a layer of images. The constants are no part of it, so that they take no registers.
struct PackedNeuron {
    real q = 0;
    real p = 0;
    real ref_q = 0;
    real ref_p = 0;
    unsigned long long recent = 0;  // the last 64 spikes of this lane
    unsigned past = 0;              // bit i, in the batch from step t on: whether this lane fired at step t - ref_cut + i
    unsigned fired = 0;             // lane i < AHEAD: the word of step t + i

    __device__ __forceinline__ PackedNeuron(const Neurons &, const real *, const real *, long long) {}

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
        const Neurons &c, long long t, int i, real entering, real leaving, bool used)
    {
        Recurrence response{c.decay, c.gain, c.cut_p, c.cut_q, q, p};
        Recurrence refractory{c.ref_decay, c.ref_gain, c.ref_cut_p, c.ref_cut_q, ref_q, ref_p};
        const unsigned in_register = recent >> (min(c.ref_cut, REGISTER_STEPS) - 1);
        const real old_spike = int((c.ref_cut <= REGISTER_STEPS ? in_register : past >> i) & 1);
        bool fires;
        const real u = srm_forward(response, refractory, t + i, c.theta, entering, leaving, old_spike, fires);
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
