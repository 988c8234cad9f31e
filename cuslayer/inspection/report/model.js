// The network of a page, from the data of cuslayer/inspection/report/contents.py: it computes the potentials, errors
// and explanations of a neuron from weights and spikes. tests/inspection/test_report_model.py compares them with
// Python's.
// Times are steps, neurons flat indices, and layer 0 is the input.
"use strict";

const TYPES = { u1: Uint8Array, f4: Float32Array, f8: Float64Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array };

// Return the array of a block, decoded on first access.
function numbers(block) {
  if (!block.array) {
    block.array = new TYPES[block.type](Uint8Array.from(atob(block.data), (letter) => letter.charCodeAt(0)).buffer);
    delete block.data;
  }
  return block.array;
}

// Return the spikes of a layer: neuron n has the times from starts[n] to starts[n + 1], and values for real input.
function trains(encoded) {
  if (!encoded.starts) {
    encoded.starts = new Uint32Array(numbers(encoded.counts).length + 1);
    numbers(encoded.counts).forEach((count, n) => (encoded.starts[n + 1] = encoded.starts[n] + count));
  }
  const { starts, times, values } = encoded;
  return { starts, times: numbers(times), values: values && numbers(values) };
}

const count = (shape) => shape.reduce((product, size) => product * size, 1);

// Return the index in a shape of a flat index.
function unravel(number, shape) {
  const index = [];
  for (const size of [...shape].reverse()) {
    index.unshift(number % size);
    number = Math.floor(number / size);
  }
  return index;
}

// Return the index of a neuron as text: a number, or (row, column, channel).
const indexText = ({ shape }, neuron) =>
  (shape.length === 1 ? String(neuron) : `(${unravel(neuron, shape).join(", ")})`);

// Call visit(first, size, at, stride) for the runs of pixels of the image in the window of a neuron of the maps
// (toImage), or of neurons whose window has a pixel; the weight of the i-th of a run is number at + i stride.
function eachRun({ image, maps, kernel_size, stride, padding, dilation, groups }, number, toImage, visit) {
  const [row, column, channel] = unravel(number, toImage ? maps : image);
  const [rows, columns, channels] = toImage ? image : maps;
  const inGroup = image[2] / groups, outGroup = maps[2] / groups;
  const group = Math.floor(channel / (toImage ? outGroup : inGroup));
  const moved = (at, tap, axis) => (toImage ? at * stride[axis] - padding[axis] + tap * dilation[axis]
    : (at + padding[axis] - tap * dilation[axis]) / stride[axis]);
  for (let tap = 0; tap < kernel_size[0] * kernel_size[1]; tap++) {
    const y = moved(row, Math.floor(tap / kernel_size[1]), 0), x = moved(column, tap % kernel_size[1], 1);
    if (!Number.isInteger(y) || !Number.isInteger(x) || y < 0 || y >= rows || x < 0 || x >= columns) continue;
    const first = (y * columns + x) * channels, weight = tap * inGroup * maps[2];
    if (toImage) visit(first + group * inGroup, inGroup, weight + channel, maps[2]);
    else visit(first + group * outGroup, outGroup, weight + (channel % inGroup) * maps[2] + group * outGroup, 1);
  }
}

// Return the value of a neuron's channel in a block, the last axis.
function ofChannel(values, neuron) {
  const array = numbers(values);
  return array[neuron % array.length];
}

// Call visit(other, weight, lag) for each neuron of the input in a slot of a node from which its output has something
// (back), or for each of the output to which that input goes.
function link(node, slot, neuron, back, visit) {
  const weight = node.weight && numbers(node.weight);
  if (node.kind === "window") {
    eachRun(node, neuron, back !== node.transposed, (first, size, at, stride) => {
      for (let i = 0; i < size; i++) visit(first + i, weight ? weight[at + i * stride] : node.gain, 0);
    });
  } else if (node.kind === "dense") {
    const { outputs } = node, inputs = weight.length / outputs;
    const lag = node.lag ? numbers(node.lag) : null, at = (i, o) => i * outputs + o;
    const arrow = (other, place) => visit(other, weight[place], lag ? lag[place] : 0);
    if (back) for (let i = 0; i < inputs; i++) arrow(i, at(i, neuron));
    else for (let o = 0; o < outputs; o++) arrow(o, at(neuron, o));
  } else if (node.kind === "delay") {
    const lag = numbers(node.steps)[neuron], share = numbers(node.shares)[neuron];
    visit(neuron, 1 - share, lag);
    if (share) visit(neuron, share, lag + 1);
  } else if (node.kind === "norm") visit(neuron, ofChannel(node.factor, neuron), 0);
  else if (!node.offsets) visit(neuron, 1, 0);
  else {
    const width = node.widths[slot], first = node.offsets[slot], { channels } = node;
    const channel = back ? (neuron % channels) - first : neuron % width;
    if (channel < 0 || channel >= width) return;
    const place = Math.floor(neuron / (back ? channels : width));
    visit(back ? place * width + channel : place * channels + first + channel, 1, 0);
  }
}

// Return sum_k samples[k] x[t - k], or for the adjoint sum_k samples[k] x[t + k].
function filtered(x, samples, adjoint = false) {
  const out = new Float64Array(x.length);
  for (let s = 0; s < x.length; s++) {
    if (x[s] === 0) continue;
    const most = Math.min(samples.length, adjoint ? s + 1 : x.length - s);
    for (let k = 0; k < most; k++) out[adjoint ? s - k : s + k] += samples[k] * x[s];
  }
  return out;
}

class Model {
  constructor(contents) {
    Object.assign(this, contents);
    for (const node of this.nodes) node.uses = [];
    this.nodes.forEach((node, at) => node.inputs.forEach((input, slot) => this.nodes[input].uses.push([at, slot])));
    this.choose(0);
  }

  // Select a sample, and clear the cached results of the last one.
  choose(sample) {
    this.sample = sample;
    this.potentials = this.layers.map(() => new Map());
    this.errorsOf = this.layers.map(() => new Map());
  }

  // Return the name of a class; - for none.
  className(at) {
    return at < 0 ? "–" : this.output.names?.[at] ?? String(at);
  }

  neurons(layer) {
    return count(this.layers[layer].shape);
  }

  spikes(layer) {
    return trains(this.layers[layer].spikes[this.sample]);
  }

  // Return the time of a step in ms, as text.
  ms(step) {
    return String(Number((step * this.dt).toPrecision(9)));
  }

  times(layer, neuron) {
    const { starts, times } = this.spikes(layer);
    return times.subarray(starts[neuron], starts[neuron + 1]);
  }

  // Return the neuron of a layer that fires most.
  busiest(layer) {
    const { starts } = this.spikes(layer);
    let found = 0;
    for (let n = 1; n < this.neurons(layer); n++) {
      if (starts[n + 1] - starts[n] > starts[found + 1] - starts[found]) found = n;
    }
    return found;
  }

  // Return the values of a neuron, one per step, from the blocks of a layer.
  row(blocks, neuron) {
    return Float64Array.from(numbers(blocks[this.sample]).subarray(neuron * this.steps, (neuron + 1) * this.steps));
  }

  // Call visit(layer, neuron, weight, lag) for each neuron from which the output of a node has something.
  inputsOf(number, neuron, visit, weight = 1, lag = 0) {
    const node = this.nodes[number];
    if (node.kind === "layer") return visit(node.layer, neuron, weight, lag);
    node.inputs.forEach((input, slot) => link(node, slot, neuron, true, (other, w, more) =>
      this.inputsOf(input, other, visit, weight * w, lag + more)));
  }

  // Call visit(layer, neuron, weight, lag) for each neuron to which the output of a node goes.
  outputsOf(number, neuron, visit, weight = 1, lag = 0) {
    for (const [at, slot] of this.nodes[number].uses) {
      const node = this.nodes[at];
      if (node.kind === "layer") visit(node.layer, neuron, weight, lag);
      else link(node, slot, neuron, false, (other, w, more) =>
        this.outputsOf(at, other, visit, weight * w, lag + more));
    }
  }

  // Call visit(source, input, weight, arrived, sent) for each input spike of a neuron, `source` the layer that sent it,
  // for recurrent neurons also its own; delays are between sent and arrived.
  eachArrival(layer, neuron, visit) {
    const { steps } = this, { node, back } = this.layers[layer], [start] = this.nodes[node].inputs;
    const arrive = (source, input, weight, lag) => {
      const { starts, times, values } = this.spikes(source);
      for (let i = starts[input]; i < starts[input + 1]; i++) {
        const time = times[i] + lag;
        if (time >= 0 && time < steps) visit(source, input, values ? weight * values[i] : weight, time, times[i]);
      }
    };
    this.inputsOf(start, neuron, arrive);
    if (back) link(back, 0, neuron, true, (input, weight, lag) => arrive(layer, input, weight, lag + back.delay));
  }

  // Return what biases and normalizations add to the output of a node at each step; null for nothing.
  constants(number, neuron) {
    const { nodes, steps } = this, node = nodes[number];
    if (node.kind === "layer" || !nodes.some(({ kind, bias }) => bias || kind === "norm")) return null;
    const own = (node.bias ? ofChannel(node.bias, neuron) : 0) + (node.kind !== "norm" ? 0
      : ofChannel(node.added, neuron) - ofChannel(node.centre, neuron) * ofChannel(node.factor, neuron));
    const sums = new Float64Array(steps).fill(own);
    node.inputs.forEach((input, slot) => link(node, slot, neuron, true, (other, weight, lag) => {
      const before = this.constants(input, other);
      if (!before) return;
      for (let t = Math.max(0, lag); t < Math.min(steps, steps + lag); t++) sums[t] += weight * before[t - lag];
    }));
    return sums.some((sum) => sum) ? sums : null;
  }

  // Return what constants add to the weighted input of a neuron at each step; null for nothing.
  constantInput(layer, neuron) {
    return this.constants(this.nodes[this.layers[layer].node].inputs[0], neuron);
  }

  // Return {potential, filtered, refractory} of a neuron; null if it is unknown.
  potential(layer, neuron) {
    const cache = this.potentials[layer];
    if (!cache.has(neuron)) cache.set(neuron, this.computePotential(layer, neuron));
    return cache.get(neuron);
  }

  computePotential(layer, neuron) {
    const { neurons, potentials } = this.layers[layer], given = potentials && this.row(potentials, neuron);
    if (!neurons.response) return given && { potential: given, filtered: null, refractory: null };
    const fired = new Float64Array(this.steps);
    for (const time of this.times(layer, neuron)) fired[time] = 1;
    const refractory = filtered(fired, numbers(neurons.refractory));
    if (given) return { potential: given, filtered: given.map((u, t) => u - refractory[t]), refractory };
    const x = this.constantInput(layer, neuron) ?? new Float64Array(this.steps);
    this.eachArrival(layer, neuron, (source, input, weight, time) => (x[time] += weight));
    const before = filtered(x, numbers(neurons.response));
    return { potential: before.map((a, t) => a + refractory[t]), filtered: before, refractory };
  }

  // Return {spikes, potential, weighted}, the errors of a neuron; null without a target. For neurons other than SRM
  // only the error on the spikes is known.
  errors(layer, neuron) {
    if (this.loss === null) return null;
    const cache = this.errorsOf[layer];
    if (!cache.has(neuron)) cache.set(neuron, this.computeErrors(layer, neuron));
    return cache.get(neuron);
  }

  computeErrors(layer, neuron) {
    const { neurons } = this.layers[layer], g = this.spikesError(layer, neuron);
    if (!neurons.response) return { spikes: g, potential: null, weighted: null };
    const u = this.potential(layer, neuron).potential, onPotential = new Float64Array(this.steps);
    const refractory = numbers(neurons.refractory);
    for (let t = this.steps - 1; t >= 0; t--) {
      let error = g[t];
      if (neurons.exact) {
        const most = Math.min(refractory.length, this.steps - t);
        for (let k = 1; k < most; k++) error += refractory[k] * onPotential[t + k];
      }
      onPotential[t] = neurons.height * Math.exp(-Math.abs(u[t] - neurons.theta) / neurons.width) * error;
    }
    return { spikes: g, potential: onPotential, weighted: filtered(onPotential, numbers(neurons.response), true) };
  }

  spikesError(layer, neuron) {
    const { steps } = this, { errors, node } = this.layers[layer];
    if (errors) return this.row(errors, neuron);
    const error = new Float64Array(steps);
    this.outputsOf(node, neuron, (behind, output, weight, lag) => {
      const { weighted } = this.errors(behind, output);
      for (let t = Math.max(0, -lag); t < Math.min(steps, steps - lag); t++) error[t] += weight * weighted[t + lag];
    });
    return error;
  }

  // Return {ofInput, ofSpikes, rest}, the contributions of a weighted input of 1 and of the neuron's spike at each step to
  // the potential at a step, and what is there without both; null for neurons whose parts are unknown.
  shares(layer, neuron, time) {
    const { neurons, sources } = this.layers[layer], filters = neurons.response ? neurons : neurons.filters;
    const fired = new Float64Array(time + 1);
    for (const spike of this.times(layer, neuron)) if (spike <= time) fired[spike] = 1;
    if (filters) {
      const [response, refractory] = [numbers(filters.response), numbers(filters.refractory)];
      const ofSpikes = fired.map((spike, t) => (t < time ? spike * (refractory[time - t] ?? 0) : 0));
      return { ofInput: fired.map((_, t) => response[time - t] ?? 0), ofSpikes, rest: 0 };
    }
    if (!neurons.held || !sources) return null;
    const x = this.constantInput(layer, neuron)?.slice(0, time + 1) ?? new Float64Array(time + 1);
    this.eachArrival(layer, neuron, (source, input, weight, arrived) => {
      if (arrived <= time) x[arrived] += weight;
    });
    return stepParts(neurons, neuron, x.map(Math.fround), fired);
  }

  // Return the parts of a potential at a step: the contribution of each input, largest first, refraction, biases, the
  // rest, and what is left; `known` is whether there are any, and `source` the layer of an input.
  explain(layer, neuron, time) {
    const { neurons, sources } = this.layers[layer], known = this.potential(layer, neuron);
    if (!known) return null;
    const spikes = this.times(layer, neuron), potential = known.potential[time], found = new Map();
    const shares = this.shares(layer, neuron, time);
    if (shares && sources) {
      this.eachArrival(layer, neuron, (source, input, weight, arrived, sent) => {
        const share = arrived <= time ? weight * shares.ofInput[arrived] : 0;
        if (share === 0) return;
        const key = `${source} ${input}`;
        if (!found.has(key)) found.set(key, { source, input, size: 0, times: new Set() });
        const part = found.get(key);
        part.size += share;
        part.times.add(sent);
      });
    }
    const contributions = [...found.values()]
      .sort((a, b) => Math.abs(b.size) - Math.abs(a.size) || a.source - b.source || a.input - b.input);
    for (const part of contributions) part.times = [...part.times].sort((a, b) => a - b);
    const refractory = shares && shares.ofSpikes.reduce((sum, share) => sum + share, 0), rest = shares ? shares.rest : 0;
    const constants = shares && sources && this.constantInput(layer, neuron);
    const bias = constants ? shares.ofInput.reduce((sum, share, t) => sum + share * constants[t], 0) : 0;
    const byInputs = contributions.reduce((sum, { size }) => sum + size, 0);
    return {
      potential, contributions, theta: neurons.theta, margin: potential - neurons.theta, fired: spikes.includes(time),
      filtered: known.filtered && known.filtered[time], refractory, bias, rest, known: Boolean(shares && sources),
      left: shares && sources && neurons.held && !neurons.held.exact ? potential - byInputs - refractory - bias - rest : 0,
      refractorySpikes: shares ? [...spikes].filter((f) => f < time && shares.ofSpikes[f] !== 0) : [],
    };
  }
}
