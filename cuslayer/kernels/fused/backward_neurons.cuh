// Neurons of any kind in fused gradients: `Kind` is the struct of the kind, whose backward needs no value of forward except
// the potential. Earlier steps may use one value of backward again: any number of times if it is stored, once if it is
// computed again from the gradient and the potential of its step.

// The steps after which gradients and potentials are read again, without the exact gradient; 0 if they are not.
template <bool exact>
__device__ __forceinline__ constexpr long long again_of(const Numbers &c)
{
    return Kind::RECOMPUTED<exact> ? Kind::later_lag<exact>(c, 0) : 0;
}

// One neuron and the gradients of its states.
struct NeuronBack {
    const Numbers &c;
    const Surrogate &rho;
    Kind kind;
    real later[Kind::STATES] = {};

    __device__ __forceinline__ NeuronBack(
        const Numbers &c, const Surrogate &rho, const real *constants, long long column)
        : c(c), rho(rho)
    {
        kind.load(constants + column % c.period, c.period);
    }

    // Computes the terms of a step that need no other step.
    template <bool exact>
    __device__ __forceinline__ void terms_of(real potential, real grad, real *terms) const
    {
        kind.template terms<exact>(c, Slope{rho}, potential, grad, false, terms);
    }

    // Returns the gradient of the input at step t, and in `kept` the value that earlier steps use again.
    template <bool exact>
    __device__ __forceinline__ real back(long long t, const real *terms, const real *past, real *kept)
    {
        const real before[Kind::STATES] = {}, saved[Kind::SAVED + 1] = {};
        real of_input[Kind::INPUTS], total[Kind::COLUMNS + 1] = {};
        kind.template backward<exact>(c, later, before, saved, terms, past, false, t, of_input, total, kept);
        return of_input[0];
    }
};

// One neuron in batches. `exact` is constant where a kernel has no exact gradient. `again` has what earlier steps use
// again, written and read, where that is not computed again; it is null for a thread without a neuron.
template <typename Exact>
struct NeuronAdjoint : NeuronBack {
    Potential u;
    real *again;
    Exact exact;
    real now[AHEAD], old[AHEAD];

    __device__ __forceinline__ NeuronAdjoint(
        const Numbers &c, const Surrogate &rho, const real *constants, long long column, const Potential &u, real *again,
        Exact exact)
        : NeuronBack(c, rho, constants, column), u(u), again(again), exact(exact)
    {
    }

    // The steps after which gradients are read again; 0 if none are.
    __device__ __forceinline__ long long reach() const { return exact ? again_of<true>(c) : again_of<false>(c); }

    __device__ __forceinline__ void read(long long frame)
    {
        u.read(now, frame);
        if (reach())
            u.read(old, frame + reach());
    }

    // Computes the gradients of the weighted input at the steps that were read; g.at(frame, j) is the gradient of the
    // spike at step frame + j, g.later(frame, j) that of reach() steps later.
    template <typename Source>
    __device__ __forceinline__ void compute(long long frame, const Source &g, real (&sums)[AHEAD])
    {
        u.convert(now);
        if (exact)
            sweep<true>(frame, g, sums);
        else
            sweep<false>(frame, g, sums);
    }

    template <bool all, typename Source>
    __device__ __forceinline__ void sweep(long long frame, const Source &g, real (&sums)[AHEAD])
    {
        constexpr int PAST = Kind::PAST<all>, TERMS = Kind::TERMS<all>;
        constexpr bool RECOMPUTED = Kind::RECOMPUTED<all>, STORED = PAST && !RECOMPUTED;
        const Rows written{again, u.steps, u.columns};
        const int left = steps_left(true, frame, u.steps), left_again = steps_left(true, frame + reach(), u.steps);
        real stored[PAST + 1][AHEAD];
        if (RECOMPUTED)
            u.convert(old);
        // Rows of this batch are read when they are written, earlier ones together.
#pragma unroll
        for (int i = 0; i < PAST; ++i)
            if (STORED && Kind::later_lag<all>(c, i) >= AHEAD)
                written.read(stored[i], frame + Kind::later_lag<all>(c, i));
#pragma unroll
        for (int j = AHEAD - 1; j >= 0; --j) {
            // After the last step, terms of 0 take fewer registers than a branch; a step that uses the potential needs it.
            sums[j] = 0;
            if (!RECOMPUTED && j >= left)
                continue;
            real terms[TERMS + 1], old_terms[TERMS + 1], past[PAST + 1], kept[Kind::KEPT<all> + 1];
            this->template terms_of<all>(now[j], g.at(frame, j), terms);
            if (RECOMPUTED)
                this->template terms_of<all>(old[j], g.later(frame, j), old_terms);
#pragma unroll
            for (int i = 0; i < TERMS; ++i)
                terms[i] = j < left ? terms[i] : real(0);
#pragma unroll
            for (int i = 0; i < PAST; ++i) {
                const long long lag = Kind::later_lag<all>(c, i);
                if (RECOMPUTED)  // the comparison changes no value; float takes fewer registers with it, double without
                    past[i] = sizeof(real) == 8 || j < left_again ? old_terms[0] : real(0);
                else
                    past[i] = lag >= AHEAD ? stored[i][j] : written.at(frame + j + lag);
            }
            sums[j] = back<all>(j, terms, past, kept);
            if (STORED && again)
                again[(frame + j) * u.columns] = kept[0];
        }
    }
};

// What earlier steps use again, of one column at the last steps: a ring of rows in shared memory, or the rows of an array.
// A thread reads only what it has written.
struct Past {
    real *mine;
    long long pitch;
    int length;   // rows
    int row = 0;  // of this step

    // The row of `steps` steps later.
    __device__ __forceinline__ int later(long long steps) const { return (row + steps) % length; }

    __device__ __forceinline__ void back(int &of) const { of = of ? of - 1 : length - 1; }

    __device__ __forceinline__ real at(int of) const { return mine[of * pitch]; }
};

// The neuron of a column, and where the values that it uses again are.
template <bool exact>
struct WalkerBack : NeuronBack {
    static constexpr int PAST = Kind::PAST<exact>, TERMS = Kind::TERMS<exact>;
    Past past;
    long long steps;  // 0 for a lane that has no column
    int leaves[PAST + 1];

    __device__ __forceinline__ WalkerBack(
        const Numbers &c, const Surrogate &rho, const real *constants, long long column, const Past &past, long long steps)
        : NeuronBack(c, rho, constants, column), past(past), steps(steps)
    {
#pragma unroll
        for (int i = 0; i < PAST; ++i)
            leaves[i] = past.later(Kind::later_lag<exact>(c, i));
    }

    // Reads what step t uses again.
    __device__ __forceinline__ void read(real (&leaving)[PAST + 1], long long t)
    {
#pragma unroll
        for (int i = 0; i < PAST; ++i) {
            leaving[i] = t + Kind::later_lag<exact>(c, i) < steps ? past.at(leaves[i]) : 0;
            past.back(leaves[i]);
        }
    }

    // Goes through a chunk of 32 steps, from the last to the first, and writes its errors.
    __device__ __forceinline__ void walk(const real *terms, real *errors, long long begin, long long columns)
    {
        // What is used again can be read in advance unless it belongs to the current batch.
        bool in_advance = true;
#pragma unroll
        for (int i = 0; i < PAST; ++i)
            in_advance = in_advance && Kind::later_lag<exact>(c, i) >= AHEAD;
        for (int i = CHUNK - 1; i >= 0; i -= AHEAD) {
            real term[AHEAD][TERMS + 1], leaving[AHEAD][PAST + 1];
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
#pragma unroll
                for (int row = 0; row < TERMS; ++row)
                    term[k][row] = terms[(row * CHUNK + i - k) * LANES];
                if (in_advance)
                    read(leaving[k], begin + i - k);
            }
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                const long long t = begin + i - k;
                if (!in_advance)
                    read(leaving[k], t);
                if (t < steps) {
                    real kept[Kind::KEPT<exact> + 1];
                    errors[t * columns] = back<exact>(AHEAD - 1 - k, term[k], leaving[k], kept);
                    if (PAST)
                        past.mine[past.row * past.pitch] = kept[0];
                }
                if (PAST)
                    past.back(past.row);
            }
        }
    }
};
