// Run the network of the page on spikes: every spike is Python's, as each sum is rounded to float32 in the same order.
//
// A list of spikes is {start, index}: at step t the neurons index[start[t]] .. index[start[t + 1] - 1] fired, in
// ascending order, as in cuslayer/kernels/spikes/cpu.py. Numbers are (steps, neurons). The functions with a star yield
// every few steps, so that the page stays responsive. tests/inspection/test_demo.py compares all spikes with Python's.
"use strict";

const AT_ONCE = 8; // steps between two yields
const f32 = Math.fround;

// Return the list of the spikes in an array of 0 and 1, (steps, neurons).
function spikeList(fired, steps, neurons) {
  const start = new Uint32Array(steps + 1);
  let spikes = 0;
  for (let i = 0; i < fired.length; i++) spikes += fired[i];
  const index = new Uint32Array(spikes);
  for (let t = 0, e = 0; t < steps; t++) {
    for (let n = 0, at = t * neurons; n < neurons; n++) if (fired[at + n]) index[e++] = n;
    start[t + 1] = e;
  }
  return { start, index };
}

// Return the spike times of each neuron, as model.js stores them.
function byNeuron({ start, index }, steps, neurons) {
  const starts = new Uint32Array(neurons + 1), times = new Uint32Array(index.length);
  for (const n of index) starts[n + 1]++;
  for (let n = 0; n < neurons; n++) starts[n + 1] += starts[n];
  const at = starts.slice(0, neurons);
  for (let t = 0; t < steps; t++) for (let e = start[t]; e < start[t + 1]; e++) times[at[index[e]]++] = t;
  return { starts: { array: starts }, times: { array: times } };
}

// Return the list of the spikes of a layer whose times are known by neuron.
function byStep({ starts, times }, steps, neurons) {
  const fired = new Uint8Array(steps * neurons);
  for (let n = 0; n < neurons; n++) for (let i = starts[n]; i < starts[n + 1]; i++) fired[times[i] * neurons + n] = 1;
  return spikeList(fired, steps, neurons);
}

// Return the list of delayed spikes.
function delayed({ start, index }, { steps: delays }, steps, neurons) {
  const lag = numbers(delays), fired = new Uint8Array(steps * neurons);
  for (let t = 0; t < steps; t++) {
    for (let e = start[t]; e < start[t + 1]; e++) {
      const to = t + lag[index[e]];
      if (to >= 0 && to < steps) fired[to * neurons + index[e]] = 1;
    }
  }
  return spikeList(fired, steps, neurons);
}

// Return delayed numbers.
function delayedNumbers(x, { steps: delays }, steps, neurons) {
  const lag = numbers(delays), out = new Float32Array(x.length);
  for (let t = 0; t < steps; t++) {
    for (let n = 0; n < neurons; n++) {
      const from = t - lag[n];
      if (from >= 0 && from < steps) out[t * neurons + n] = x[from * neurons + n];
    }
  }
  return out;
}

// Add the weights of all spikes at step t, in ascending order, to out, from `at` on.
function weigh(connection, { start, index }, t, out, at) {
  const fired = index.subarray(start[t], start[t + 1]);
  if (connection.kind === "dense") return weighDense(connection, fired, out, at);
  if (!connection.weight) return countInWindows(connection, fired, out, at);
  if (!connection.transposed) return convolve(connection, fired, out, at);
  for (const n of fired) across(connection, n, false, (other, weight) => (out[at + other] += weight));
}

function countInWindows(connection, index, out, at) {
  for (const n of index) across(connection, n, false, (other) => (out[at + other] += 1));
}

function convolve(connection, index, out, at) {
  const w = numbers(connection.weight);
  const add = (neuron, from, size) => {
    for (let o = 0, to = at + neuron; o < size; o++) out[to + o] = f32(out[to + o] + w[from + o]);
  };
  for (const n of index) eachRunOf(connection, n, add);
}

// Add the rows of a dense weight in the order of `add_rows` in cuslayer/kernels/dense/cpu.py: that of few spikes four
// at a time, that of many after the sum of those in each six neighbouring inputs.
function weighDense({ weight, outputs, sixesAbove, together }, index, out, at) {
  const w = numbers(weight);
  if (index.length > sixesAbove) return weighNeighbours(w, outputs, together, index, out, at);
  const whole = index.length - (index.length % 4);
  for (let e = 0; e < whole; e += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => index[e + k] * outputs);
    for (let j = 0; j < outputs; j++) {
      out[at + j] = f32(out[at + j] + f32(f32(w[a + j] + w[b + j]) + f32(w[c + j] + w[d + j])));
    }
  }
  for (let e = whole; e < index.length; e++) {
    const a = index[e] * outputs;
    for (let j = 0; j < outputs; j++) out[at + j] = f32(out[at + j] + w[a + j]);
  }
}

function weighNeighbours(w, outputs, together, index, out, at) {
  const some = new Float32Array(outputs);
  for (let e = 0; e < index.length; ) {
    const end = (Math.floor(index[e] / together) + 1) * together;
    some.fill(0);
    for (; e < index.length && index[e] < end; e++) {
      const a = index[e] * outputs;
      for (let j = 0; j < outputs; j++) some[j] += w[a + j];
    }
    for (let j = 0; j < outputs; j++) out[at + j] += some[j];
  }
}

// Return the weighted input of the neurons after connections, (steps, neurons).
function* weighted(connections, spikes, steps, inputs, neurons) {
  let x = null;
  for (const connection of connections) {
    if (connection.kind !== "delay") {
      x = new Float32Array(steps * neurons);
      for (let t = 0; t < steps; t++) {
        weigh(connection, spikes, t, x, t * neurons);
        if (t % AT_ONCE === 0) yield;
      }
      // The weight of pooling is the same for every spike: it multiplies their number.
      if (!connection.weight) for (let i = 0; i < x.length; i++) x[i] *= f32(connection.gain);
    } else if (x) x = delayedNumbers(x, connection, steps, neurons);
    else spikes = delayed(spikes, connection, steps, inputs);
  }
  return x;
}

// Run the network of a model on a list of spikes of its input. The model has the spikes of all layers at the end.
function* simulate(model, input) {
  const { steps, layers } = model, found = [{ spikes: byNeuron(input, steps, model.neurons(0)), potentials: null }];
  let spikes = input;
  for (let layer = 1; layer < layers.length; layer++) {
    const { connections, neurons: constants } = layers[layer], neurons = model.neurons(layer);
    const x = yield* weighted(connections, spikes, steps, model.neurons(layer - 1), neurons);
    const { fired, potentials } = yield* fire(x, constants.simulation, steps, neurons);
    spikes = spikeList(fired, steps, neurons);
    found.push({ spikes: byNeuron(spikes, steps, neurons), potentials: potentials && [{ array: potentials }] });
    yield;
  }
  found.forEach(({ spikes: all, potentials }, layer) => Object.assign(layers[layer], { spikes: [all], potentials }));
  model.choose(0);
}

// Store that no neuron of a model fired: without input none does.
function silence(model) {
  model.layers.forEach((each, layer) => {
    const nothing = { starts: { array: new Uint32Array(model.neurons(layer) + 1) }, times: { array: new Uint32Array(0) } };
    Object.assign(each, { spikes: [nothing], potentials: null });
  });
  model.choose(0);
}
