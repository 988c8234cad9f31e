// What the page computes from the weights and spikes that it carries: potentials, errors and explanations.
//
// The equations are those of docs/design.md; explaining.py and reassigning.py have the same in Python, and
// tests/inspection/test_report_model.py holds the two together. Times are steps, neurons flat numbers; layer 0 is the input.
"use strict";

const TYPES = { u1: Uint8Array, f4: Float32Array, f8: Float64Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array };

// Return the array of a block, read when it is first asked for.
function numbers(block) {
  if (!block.array) {
    const text = atob(block.data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    block.array = new TYPES[block.type](bytes.buffer);
    delete block.data;
  }
  return block.array;
}

// Return the spikes of a layer: the times of all, where each neuron's begin, and the values where they are numbers.
function trains(kept, neurons, steps) {
  if (kept.bits) {
    const bits = numbers(kept.bits), row = bits.length / neurons, starts = new Uint32Array(neurons + 1);
    let spikes = 0;
    for (let byte of bits) for (; byte; byte &= byte - 1) spikes++;
    const times = new (steps > 65536 ? Uint32Array : Uint16Array)(spikes);
    for (let n = 0, i = 0; n < neurons; n++) {
      for (let at = 0; at < row; at++) {
        for (let byte = bits[n * row + at]; byte; byte &= byte - 1) times[i++] = 8 * at + 31 - Math.clz32(byte & -byte);
      }
      starts[n + 1] = i;
    }
    Object.assign(kept, { starts: { array: starts }, times: { array: times }, bits: null });
  }
  return { starts: numbers(kept.starts), times: numbers(kept.times), values: kept.values && numbers(kept.values) };
}

const count = (shape) => shape.reduce((product, size) => product * size, 1);

// Return the place of a flat number in a shape.
function unravel(number, shape) {
  const place = [];
  for (const size of [...shape].reverse()) {
    place.unshift(number % size);
    number = Math.floor(number / size);
  }
  return place;
}

// Call visit(pixel, weight) for each pixel of the image that the window at a neuron of the maps covers.
function covered(wire, neuron, visit) {
  const [rows, columns, channels] = wire.image;
  const [row, column, map] = unravel(neuron, wire.maps);
  eachTap(wire, (r, c, tap) => {
    const y = row * wire.stride[0] - wire.padding[0] + r * wire.dilation[0];
    const x = column * wire.stride[1] - wire.padding[1] + c * wire.dilation[1];
    if (y < 0 || y >= rows || x < 0 || x >= columns) return;
    const pixel = (y * columns + x) * channels;
    if (!wire.weight) return visit(pixel + map, wire.gain);
    const inGroup = channels / wire.groups, maps = wire.maps[2];
    const first = Math.floor(map / (maps / wire.groups)) * inGroup, weight = numbers(wire.weight);
    for (let i = 0; i < inGroup; i++) visit(pixel + first + i, weight[(tap * inGroup + i) * maps + map]);
  });
}

// Call visit(neuron, weight) for each neuron of the maps whose window covers a pixel of the image.
function covering(wire, pixel, visit) {
  const [rows, columns, maps] = wire.maps;
  const [row, column, channel] = unravel(pixel, wire.image);
  eachTap(wire, (r, c, tap) => {
    const y = (row + wire.padding[0] - r * wire.dilation[0]) / wire.stride[0];
    const x = (column + wire.padding[1] - c * wire.dilation[1]) / wire.stride[1];
    if (!(Number.isInteger(y) && Number.isInteger(x)) || y < 0 || y >= rows || x < 0 || x >= columns) return;
    const neuron = (y * columns + x) * maps;
    if (!wire.weight) return visit(neuron + channel, wire.gain);
    const inGroup = wire.image[2] / wire.groups, outGroup = maps / wire.groups;
    const first = Math.floor(channel / inGroup) * outGroup, i = channel % inGroup, weight = numbers(wire.weight);
    for (let o = first; o < first + outGroup; o++) visit(neuron + o, weight[(tap * inGroup + i) * maps + o]);
  });
}

function eachTap(wire, visit) {
  const [rows, columns] = wire.kernel_size;
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) visit(r, c, r * columns + c);
}

// Call visit(other, weight, lag) for each input of an output (back), or for each output of an input.
function across(wire, neuron, back, visit) {
  if (wire.kind === "window") {
    const walk = back !== wire.transposed ? covered : covering;
    walk(wire, neuron, (other, weight) => visit(other, weight, 0));
  } else if (wire.kind === "dense") {
    const weight = numbers(wire.weight), outputs = wire.outputs, inputs = weight.length / outputs;
    if (back) for (let i = 0; i < inputs; i++) visit(i, weight[i * outputs + neuron], 0);
    else for (let o = 0; o < outputs; o++) visit(o, weight[neuron * outputs + o], 0);
  } else {
    const steps = numbers(wire.steps)[neuron], share = numbers(wire.shares)[neuron];
    visit(neuron, 1 - share, steps);
    if (share) visit(neuron, share, steps + 1);
  }
}

// Call visit as `across` does, through several wires.
function through(wires, neuron, back, visit, at = 0, weight = 1, lag = 0) {
  if (at === wires.length) return visit(neuron, weight, lag);
  across(wires[back ? wires.length - 1 - at : at], neuron, back, (other, w, more) =>
    through(wires, other, back, visit, at + 1, weight * w, lag + more));
}

// Return sum_k samples[k] x[t - k], or with ahead sum_k samples[k] x[t + k].
function filtered(x, samples, ahead = false) {
  const out = new Float64Array(x.length);
  for (let s = 0; s < x.length; s++) {
    if (x[s] === 0) continue;
    const most = Math.min(samples.length, ahead ? s + 1 : x.length - s);
    for (let k = 0; k < most; k++) out[ahead ? s - k : s + k] += samples[k] * x[s];
  }
  return out;
}

class Model {
  constructor(contents) {
    Object.assign(this, contents);
    this.choose(0);
  }

  // Turn to another sample; what was computed of the last is let go of.
  choose(sample) {
    this.sample = sample;
    this.potentials = this.layers.map(() => new Map());
    this.reassigned = this.layers.map(() => new Map());
  }

  neurons(layer) {
    return count(this.layers[layer].shape);
  }

  spikes(layer) {
    return trains(this.layers[layer].spikes[this.sample], this.neurons(layer), this.steps);
  }

  times(layer, neuron) {
    const { starts, times } = this.spikes(layer);
    return times.subarray(starts[neuron], starts[neuron + 1]);
  }

  // Return the numbers of a neuron, one a step, of those that came along.
  row(blocks, neuron) {
    return Float64Array.from(numbers(blocks[this.sample]).subarray(neuron * this.steps, (neuron + 1) * this.steps));
  }

  // Call visit(input, weight, time) for each spike that comes in to a neuron, at the time at which it arrives.
  eachArrival(layer, neuron, visit) {
    const { starts, times, values } = this.spikes(layer - 1), steps = this.steps;
    through(this.layers[layer].wires, neuron, true, (input, weight, lag) => {
      for (let i = starts[input]; i < starts[input + 1]; i++) {
        const time = times[i] + lag;
        if (time >= 0 && time < steps) visit(input, values ? weight * values[i] : weight, time, times[i]);
      }
    });
  }

  // Return {potential, filtered, refractory} of a neuron; null where it is not known.
  potential(layer, neuron) {
    const known = this.potentials[layer];
    if (!known.has(neuron)) known.set(neuron, this.computePotential(layer, neuron));
    return known.get(neuron);
  }

  computePotential(layer, neuron) {
    const { wires, neurons, potentials } = this.layers[layer];
    const kept = potentials && this.row(potentials, neuron);
    if (!neurons.response) return kept && { potential: kept, filtered: null, refractory: null };
    const fired = new Float64Array(this.steps);
    for (const time of this.times(layer, neuron)) fired[time] = 1;
    const refractory = filtered(fired, numbers(neurons.refractory));
    if (kept) return { potential: kept, filtered: kept.map((u, t) => u - refractory[t]), refractory };
    const x = new Float64Array(this.steps);
    this.eachArrival(layer, neuron, (input, weight, time) => (x[time] += weight));
    const before = filtered(x, numbers(neurons.response));
    return { potential: before.map((a, t) => a + refractory[t]), filtered: before, refractory };
  }

  // Return {spikes, potential, weighted}, the errors of a neuron; null without a target. Of neurons of another kind
  // the page knows the first alone.
  errors(layer, neuron) {
    if (this.loss === null) return null;
    const known = this.reassigned[layer];
    if (!known.has(neuron)) known.set(neuron, this.computeErrors(layer, neuron));
    return known.get(neuron);
  }

  computeErrors(layer, neuron) {
    const { neurons } = this.layers[layer], g = this.spikesError(layer, neuron);
    if (!neurons.response) return { spikes: g, potential: null, weighted: null };
    const u = this.potential(layer, neuron).potential, back = new Float64Array(this.steps);
    const refractory = numbers(neurons.refractory);
    for (let t = this.steps - 1; t >= 0; t--) {
      let error = g[t];
      if (neurons.exact) {
        const most = Math.min(refractory.length, this.steps - t);
        for (let k = 1; k < most; k++) error += refractory[k] * back[t + k];
      }
      back[t] = neurons.height * Math.exp(-Math.abs(u[t] - neurons.theta) / neurons.width) * error;
    }
    return { spikes: g, potential: back, weighted: filtered(back, numbers(neurons.response), true) };
  }

  spikesError(layer, neuron) {
    const steps = this.steps, { errors } = this.layers[layer];
    if (errors) return this.row(errors, neuron);
    const error = new Float64Array(steps);
    through(this.layers[layer + 1].wires, neuron, false, (output, weight, lag) => {
      const of = this.errors(layer + 1, output).weighted;
      for (let t = Math.max(0, -lag); t < Math.min(steps, steps - lag); t++) error[t] += weight * of[t + lag];
    });
    return error;
  }

  // Return the parts of a potential at a time: each input's contribution, largest first, and the refractory debt.
  explain(layer, neuron, time) {
    const { wires, neurons } = this.layers[layer], had = this.potential(layer, neuron);
    if (!had) return null;
    const spikes = this.times(layer, neuron), potential = had.potential[time], found = new Map();
    if (neurons.response && wires) {
      const response = numbers(neurons.response);
      this.eachArrival(layer, neuron, (input, weight, arrived, sent) => {
        const lag = time - arrived;
        if (lag < 0 || lag >= response.length || response[lag] === 0 || weight === 0) return;
        if (!found.has(input)) found.set(input, { input, size: 0, times: new Set() });
        const part = found.get(input);
        part.size += weight * response[lag];
        part.times.add(sent);
      });
    }
    const contributions = [...found.values()].sort((a, b) => Math.abs(b.size) - Math.abs(a.size) || a.input - b.input);
    for (const part of contributions) part.times = [...part.times].sort((a, b) => a - b);
    const refractory = neurons.response ? numbers(neurons.refractory) : [];
    return {
      potential,
      theta: neurons.theta,
      margin: potential - neurons.theta,
      fired: spikes.includes(time),
      filtered: had.filtered && had.filtered[time],
      refractory: had.refractory && had.refractory[time],
      contributions,
      debts: [...spikes].filter((f) => f < time && time - f < refractory.length && refractory[time - f] !== 0),
    };
  }
}
