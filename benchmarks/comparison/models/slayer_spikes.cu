// The spikes of neurons with a refractory response, as SLAYER-PyTorch computes them: each spike adds the response to the
// potentials of the steps that follow. A thread has a neuron and walks through time. Arrays are (neurons, steps).
extern "C" __global__ void slayer_spikes(
    real *u,                 // (neurons, steps): without refraction, to which it is added
    real *s,                 // (neurons, steps): 1 where a neuron fires, else 0
    const real *refractory,  // (taps,): the response to a spike, the first at the step of the spike
    real theta,              // the threshold
    long long neurons, int steps, int taps)
{
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= neurons)
        return;
    u += i * steps;
    s += i * steps;
    for (int t = 0; t < steps; ++t) {
        const bool fires = u[t] >= theta;
        s[t] = fires;
        if (fires)
            for (int k = 1; k < taps && t + k < steps; ++k)
                u[t + k] += refractory[k];
    }
}
