// Compute potentials, errors and explanations of a neuron from the weights and spikes of the page.
//
// The results must equal those of Python: potentials and errors those of cuslayer/neurons/srm.py as recorded by
// cuslayer/inspection/reassign.py, explanations those of cuslayer/inspection/explain/compute.py. The data comes from
// cuslayer/inspection/report/contents.py, its connections from connections.py. tests/inspection/test_report_model.py
// compares both. Times are steps, neurons flat indices, and layer 0 is the input.
"use strict";

const TYPES = { u1: Uint8Array, f4: Float32Array, f8: Float64Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array };

// Return the array of a block, decoded on first access.
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

// Return the spikes of a layer: the times of all neurons, where each neuron's start, and the values of real input.
function trains(encoded, neurons, steps) {
  if (encoded.bits) {
    const bits = numbers(encoded.bits), row = bits.length / neurons, starts = new Uint32Array(neurons + 1);
    let spikes = 0;
    for (let byte of bits) for (; byte; byte &= byte - 1) spikes++;
    const times = new (steps > 65536 ? Uint32Array : Uint16Array)(spikes);
    for (let n = 0, i = 0; n < neurons; n++) {
      for (let at = 0; at < row; at++) {
        for (let byte = bits[n * row + at]; byte; byte &= byte - 1) times[i++] = 8 * at + 31 - Math.clz32(byte & -byte);
      }
      starts[n + 1] = i;
    }
    Object.assign(encoded, { starts: { array: starts }, times: { array: times }, bits: null });
  }
  const { starts, times, values } = encoded;
  return { starts: numbers(starts), times: numbers(times), values: values && numbers(values) };
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

// Call visit(pixel, weight) for each pixel of the image in the receptive field of a neuron of the maps.
function eachPixelOf(connection, neuron, visit) {
  const [rows, columns, channels] = connection.image;
  const [row, column, map] = unravel(neuron, connection.maps);
  eachTap(connection, (r, c, tap) => {
    const y = row * connection.stride[0] - connection.padding[0] + r * connection.dilation[0];
    const x = column * connection.stride[1] - connection.padding[1] + c * connection.dilation[1];
    if (y < 0 || y >= rows || x < 0 || x >= columns) return;
    const pixel = (y * columns + x) * channels;
    if (!connection.weight) return visit(pixel + map, connection.gain);
    const inGroup = channels / connection.groups, maps = connection.maps[2];
    const first = Math.floor(map / (maps / connection.groups)) * inGroup, weight = numbers(connection.weight);
    for (let i = 0; i < inGroup; i++) visit(pixel + first + i, weight[(tap * inGroup + i) * maps + map]);
  });
}

// Call visit(neuron, weight) for each neuron of the maps whose receptive field has a pixel of the image.
function eachNeuronOf(connection, pixel, visit) {
  const weight = connection.weight && numbers(connection.weight);
  eachRunOf(connection, pixel, (neuron, at, size) => {
    for (let o = 0; o < size; o++) visit(neuron + o, weight ? weight[at + o] : connection.gain);
  });
}

// Call visit(neuron, at, size) for these neurons in runs of neighbours, whose weights begin at `at` of the weight.
function eachRunOf(connection, pixel, visit) {
  const [rows, columns, maps] = connection.maps;
  const [row, column, channel] = unravel(pixel, connection.image);
  const inGroup = connection.image[2] / connection.groups, outGroup = maps / connection.groups;
  const first = Math.floor(channel / inGroup) * outGroup, i = channel % inGroup;
  eachTap(connection, (r, c, tap) => {
    const y = (row + connection.padding[0] - r * connection.dilation[0]) / connection.stride[0];
    const x = (column + connection.padding[1] - c * connection.dilation[1]) / connection.stride[1];
    if (!(Number.isInteger(y) && Number.isInteger(x)) || y < 0 || y >= rows || x < 0 || x >= columns) return;
    const neuron = (y * columns + x) * maps;
    if (connection.weight) visit(neuron + first, (tap * inGroup + i) * maps + first, outGroup);
    else visit(neuron + channel, 0, 1);
  });
}

function eachTap(connection, visit) {
  const [rows, columns] = connection.kernel_size;
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) visit(r, c, r * columns + c);
}

// Call visit(other, weight, lag) for each input of an output (toInputs), or for each output of an input.
function across(connection, neuron, toInputs, visit) {
  if (connection.kind === "window") {
    const each = toInputs !== connection.transposed ? eachPixelOf : eachNeuronOf;
    each(connection, neuron, (other, weight) => visit(other, weight, 0));
  } else if (connection.kind === "dense") {
    const weight = numbers(connection.weight), outputs = connection.outputs, inputs = weight.length / outputs;
    if (toInputs) for (let i = 0; i < inputs; i++) visit(i, weight[i * outputs + neuron], 0);
    else for (let o = 0; o < outputs; o++) visit(o, weight[neuron * outputs + o], 0);
  } else {
    const steps = numbers(connection.steps)[neuron], share = numbers(connection.shares)[neuron];
    visit(neuron, 1 - share, steps);
    if (share) visit(neuron, share, steps + 1);
  }
}

// Call visit as `across` does, through several connections in sequence.
function through(connections, neuron, toInputs, visit, at = 0, weight = 1, lag = 0) {
  if (at === connections.length) return visit(neuron, weight, lag);
  across(connections[toInputs ? connections.length - 1 - at : at], neuron, toInputs, (other, w, more) =>
    through(connections, other, toInputs, visit, at + 1, weight * w, lag + more));
}

// Call visit(layer, neuron, weight, lag) for each input of an output, through connections and joins of branches.
function inputsOf(feed, output, visit, weight = 1, lag = 0) {
  through(feed.connections, output, true, (other, w, more) => {
    if (!feed.branches) return visit(feed.source, other, weight * w, lag + more);
    const row = Math.floor(other / feed.channels), channel = other % feed.channels;
    for (const branch of feed.branches) {
      const inside = branch.width === undefined || (channel >= branch.first && channel < branch.first + branch.width);
      const inner = branch.width === undefined ? other : row * branch.width + channel - branch.first;
      if (inside) inputsOf(branch, inner, visit, weight * w, lag + more);
    }
  });
}

// Call visit(output, weight, lag) for each output that a neuron of a layer reaches, through connections and joins.
function outputsOf(feed, layer, neuron, visit) {
  if (!feed.branches) return feed.source === layer && through(feed.connections, neuron, false, visit);
  for (const branch of feed.branches) {
    outputsOf(branch, layer, neuron, (inner, weight, lag) => {
      const { width, first } = branch;
      const joined = width === undefined ? inner : Math.floor(inner / width) * feed.channels + first + (inner % width);
      through(feed.connections, joined, false, (output, w, more) => visit(output, weight * w, lag + more));
    });
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
    this.choose(0);
  }

  // Select a sample, and clear the cached results of the last one.
  choose(sample) {
    this.sample = sample;
    this.potentials = this.layers.map(() => new Map());
    this.errorsOf = this.layers.map(() => new Map());
  }

  neurons(layer) {
    return count(this.layers[layer].shape);
  }

  spikes(layer) {
    return trains(this.layers[layer].spikes[this.sample], this.neurons(layer), this.steps);
  }

  // Return the time of a step in ms, as text.
  ms(step) {
    return String(Number((step * this.dt).toPrecision(9)));
  }

  times(layer, neuron) {
    const { starts, times } = this.spikes(layer);
    return times.subarray(starts[neuron], starts[neuron + 1]);
  }

  // Return the values of a neuron, one per step, from the blocks of a layer.
  row(blocks, neuron) {
    return Float64Array.from(numbers(blocks[this.sample]).subarray(neuron * this.steps, (neuron + 1) * this.steps));
  }

  // Return where the input of a layer comes from, as inputsOf reads it; null if a stage is unknown.
  feed(layer) {
    const { connections, feed } = this.layers[layer];
    return feed ?? (connections && { source: layer - 1, connections });
  }

  // Call visit(source, input, weight, arrived, sent) for each input spike of a neuron, `source` the layer that sent it;
  // delays are between sent and arrived.
  eachArrival(layer, neuron, visit) {
    const steps = this.steps, trainsOf = new Map();
    inputsOf(this.feed(layer), neuron, (source, input, weight, lag) => {
      if (!trainsOf.has(source)) trainsOf.set(source, this.spikes(source));
      const { starts, times, values } = trainsOf.get(source);
      for (let i = starts[input]; i < starts[input + 1]; i++) {
        const time = times[i] + lag;
        if (time >= 0 && time < steps) visit(source, input, values ? weight * values[i] : weight, time, times[i]);
      }
    });
  }

  // Return {potential, filtered, refractory} of a neuron; null if it is unknown.
  potential(layer, neuron) {
    const cache = this.potentials[layer];
    if (!cache.has(neuron)) cache.set(neuron, this.computePotential(layer, neuron));
    return cache.get(neuron);
  }

  computePotential(layer, neuron) {
    const { neurons, potentials } = this.layers[layer];
    const given = potentials && this.row(potentials, neuron);
    if (!neurons.response) return given && { potential: given, filtered: null, refractory: null };
    const fired = new Float64Array(this.steps);
    for (const time of this.times(layer, neuron)) fired[time] = 1;
    const refractory = filtered(fired, numbers(neurons.refractory));
    if (given) return { potential: given, filtered: given.map((u, t) => u - refractory[t]), refractory };
    const x = new Float64Array(this.steps);
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
    const steps = this.steps, { errors } = this.layers[layer];
    if (errors) return this.row(errors, neuron);
    const error = new Float64Array(steps);
    for (let behind = layer + 1; behind < this.layers.length; behind++) {
      outputsOf(this.feed(behind), layer, neuron, (output, weight, lag) => {
        const { weighted } = this.errors(behind, output);
        for (let t = Math.max(0, -lag); t < Math.min(steps, steps - lag); t++) error[t] += weight * weighted[t + lag];
      });
    }
    return error;
  }

  // Return the parts of a potential at a step: the contribution of each input, largest first, and refraction. `source`
  // is the layer of an input.
  explain(layer, neuron, time) {
    const { neurons } = this.layers[layer], feed = this.feed(layer), known = this.potential(layer, neuron);
    if (!known) return null;
    const spikes = this.times(layer, neuron), potential = known.potential[time], found = new Map();
    if (neurons.response && feed) {
      const response = numbers(neurons.response);
      this.eachArrival(layer, neuron, (source, input, weight, arrived, sent) => {
        const lag = time - arrived;
        if (lag < 0 || lag >= response.length || response[lag] === 0 || weight === 0) return;
        const key = `${source} ${input}`;
        if (!found.has(key)) found.set(key, { source, input, size: 0, times: new Set() });
        const part = found.get(key);
        part.size += weight * response[lag];
        part.times.add(sent);
      });
    }
    const contributions = [...found.values()].sort((a, b) => Math.abs(b.size) - Math.abs(a.size) || a.source - b.source || a.input - b.input);
    for (const part of contributions) part.times = [...part.times].sort((a, b) => a - b);
    const refractory = neurons.response ? numbers(neurons.refractory) : [];
    const refracts = (f) => f < time && time - f < refractory.length && refractory[time - f] !== 0;
    return {
      potential,
      theta: neurons.theta,
      margin: potential - neurons.theta,
      fired: spikes.includes(time),
      filtered: known.filtered && known.filtered[time],
      refractory: known.refractory && known.refractory[time],
      contributions,
      refractorySpikes: [...spikes].filter(refracts),
    };
  }
}
