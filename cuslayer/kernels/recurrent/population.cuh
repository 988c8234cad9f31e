// What the forward and the backward sweep of recurrent populations share: recurrent.cu, recurrent_adjoint.cu.

// Threads of a block at most.
constexpr int THREADS = 512;

// Where a thread is: in its sample, in a row of columns, in time.
struct Place {
    long long columns, column, step, at;
    int neuron;
};

// Returns a state, 0 at the first step of a sweep.
__device__ __forceinline__ real state_of(const real *states, int number, const Place &place, bool begins)
{
    return begins ? real(0) : states[number * place.columns + place.column];
}

// An alpha function whose states are columns of two rows of memory.
struct Filter {
    real decay, gain, cut_p, cut_q;
    real *states;

    // Reads the states; at the first step of a sweep they are 0.
    __device__ __forceinline__ Recurrence load(const Place &place, bool begins) const
    {
        Recurrence found{decay, gain, cut_p, cut_q};
        if (!begins) {
            found.q = states[place.column];
            found.p = states[place.columns + place.column];
        }
        found.flush(place.step);
        return found;
    }

    __device__ __forceinline__ void store(const Place &place, const Recurrence &found) const
    {
        states[place.column] = found.q;
        states[place.columns + place.column] = found.p;
    }
};
