// Run neurons on their weighted input (steps, neurons), rounded to float32 as in Python's kernels.
"use strict";

// Return {fired, potentials}: spikes (steps, neurons) as 0 and 1, and the potentials (neurons, steps) of neurons whose
// potential model.js cannot compute, else null. It yields every few steps.
function* fire(x, constants, steps, neurons) {
  const fired = new Uint8Array(steps * neurons), state = new Float32Array(4 * neurons);
  const alpha = constants.kind === "alpha", potentials = alpha ? null : new Float32Array(neurons * steps);
  for (let t = 0; t < steps; t++) {
    if (alpha) fireAlpha(t, x, fired, state, neurons, constants);
    else fireFixedPoint(t, x, fired, potentials, state, steps, neurons, constants);
    if (t % AT_ONCE === 0) yield;
  }
  return { fired, potentials };
}

// A step of spike response neurons: `forward_block` in cuslayer/kernels/srm/cpu.py. Times are limited by `cut`.
function fireAlpha(t, x, fired, state, neurons, { theta, response: f, refractory: nu }) {
  const old = f.cut > 0 && t >= f.cut ? (t - f.cut) * neurons : -1;
  const oldSpike = nu.cut > 0 && t >= nu.cut ? (t - nu.cut) * neurons : -1;
  const now = t * neurons, two = 2 * neurons, three = 3 * neurons;
  for (let j = 0; j < neurons; j++) {
    const gone = old < 0 ? 0 : x[old + j], goneSpike = oldSpike < 0 ? 0 : fired[oldSpike + j];
    const p = state[j + neurons], pRefractory = state[j + three];
    const q = f32(f32(f.decay * f32(state[j] + p)) - f32(f.cut_q * gone));
    const r = f32(f32(nu.decay * f32(state[j + two] + pRefractory)) - f32(nu.cut_q * goneSpike));
    const fires = f32(f32(f.gain * q) + f32(nu.gain * r)) >= theta ? 1 : 0;
    state[j] = q;
    state[j + neurons] = f32(f32(f32(f.decay * p) + x[now + j]) - f32(f.cut_p * gone));
    state[j + two] = r;
    state[j + three] = f32(f32(f32(nu.decay * pRefractory) + fires) - f32(nu.cut_p * goneSpike));
    fired[now + j] = fires;
  }
}

const UNIT = 4096; // decays are multiples of 1 / 2^12
const LARGEST = 2 ** 23 - 1; // the largest state

// Round to the nearest integer, halves to even.
function rint(x) {
  const below = Math.floor(x), rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

// Return a state after its decay: the upper and lower 12 bits multiply separately, towards zero.
function decayed(state, keep) {
  const upper = Math.trunc(state / UNIT), lower = state - upper * UNIT;
  return f32(f32(upper * keep) + Math.trunc(f32(lower * keep) / UNIT));
}

const limited = (state) => (state > LARGEST ? LARGEST : state >= -LARGEST ? state : -LARGEST);

// A step of fixed-point neurons: `_forward` in cuslayer/kernels/loihi/cpu.py.
function fireFixedPoint(t, x, fired, potentials, state, steps, neurons, c) {
  for (let j = 0; j < neurons; j++) {
    const given = t < c.first ? 0 : x[t * neurons + j];
    const current = limited(f32(decayed(state[j], c.i_keep) + rint(f32(given * c.gain))));
    const free = limited(f32(decayed(state[j + neurons], c.v_keep) + current));
    const held = state[j + 2 * neurons], value = held > 0 ? 0 : free, fires = value > c.theta;
    state[j] = current;
    state[j + neurons] = fires ? 0 : value;
    state[j + 2 * neurons] = fires ? c.hold : held - 1;
    potentials[j * steps + t] = fires && c.mark !== 0 ? c.mark : value;
    fired[t * neurons + j] = fires ? 1 : 0;
  }
}
