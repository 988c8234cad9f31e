// Learn from one drawing or recording: a lesson is a few steps down the gradient of its loss, each by the few weights
// that matter most, so that what the network knew stays. The errors are those of model.js.
"use strict";

const STEPS_OF_LESSON = 11;
const STEP = 0.0015; // the size of a step, in sizes of the layer's weights
const SHARE = 0.02; // of a layer's weights may change in a step
const RARE = 0.05; // what is added to the rate of an input, in rates of all: rare inputs change more

// Return the layers that learn, as {layer, node}: those of which one node with weights is between neurons; not the first
// where its weighted input is given. None if errors do not come through all layers.
function learners({ layers, nodes, output }, given = null) {
  const known = layers.slice(1).every(({ neurons, sources }) => neurons.response && sources);
  if (!known || output.simulation || nodes.some(({ kind, bias, lag }) => bias || lag || kind === "norm")) return [];
  return layers.slice(1).flatMap((layer, at) => {
    const [start] = nodes[layer.node].inputs, node = nodes[start];
    const learns = node.weight && nodes[node.inputs[0]].kind === "layer" && !(given && at === 0);
    return learns ? [{ layer: at + 1, node }] : [];
  });
}

// Return the probability of each class for scores: their softmax.
function softmax(scores) {
  const most = Math.max(...scores), shares = scores.map((score) => Math.exp(score - most));
  const sum = shares.reduce((a, share) => a + share, 0);
  return shares.map((share) => share / sum);
}

// Set the errors on the last spikes, of the cross-entropy of the classes' scores at the end with a class.
function setErrors(model, scores, target) {
  const last = model.layers.length - 1, { layers, steps, output: { classes } } = model, neurons = model.neurons(last);
  const channels = layers[last].shape.at(-1), probability = softmax(scores), errors = new Float64Array(neurons * steps);
  for (let n = 0; n < neurons; n++) {
    const of = Math.floor(((n % channels) * classes) / channels);
    errors.fill(((probability[of] - (of === target)) * classes) / neurons, n * steps, (n + 1) * steps);
  }
  layers[last].errors = [{ array: errors }];
  model.loss = -Math.log(probability[target]);
  model.choose(0);
}

// Return the gradient of the weight of a node before the neurons of a layer.
function* gradientOf(model, layer, node) {
  const { steps, nodes } = model, neurons = model.neurons(layer), errors = new Float64Array(steps * neurons);
  for (let j = 0; j < neurons; j++) {
    model.errors(layer, j).weighted.forEach((error, t) => (errors[t * neurons + j] = error));
    if (j % AT_ONCE === 0) yield;
  }
  const source = nodes[node.inputs[0]].layer, { starts, times, values } = model.spikes(source);
  const gradient = new Float64Array(numbers(node.weight).length);
  for (let n = 0; n < model.neurons(source); n++) {
    for (let i = starts[n]; i < starts[n + 1]; i++) {
      const at = times[i] * neurons, value = values ? values[i] : 1;
      if (node.kind === "dense") for (let j = 0; j < neurons; j++) gradient[n * neurons + j] += value * errors[at + j];
      else eachRun(node, n, node.transposed, (first, size, from, stride) => {
        for (let o = 0; o < size; o++) gradient[from + o * stride] += value * errors[at + first + o];
      });
    }
    if (n % AT_ONCE === 0) yield;
  }
  return gradient;
}

const sizeOf = (x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));

// Move the weights with the largest gradients a step down, those of inputs that often fire less.
function descend(node, gradient) {
  const w = numbers(node.weight), rates = node.usual && numbers(node.usual);
  if (rates) {
    const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length || 1;
    gradient = gradient.map((g, i) => g / (rates[Math.floor(i / node.outputs)] / mean + RARE));
  }
  const sizes = gradient.map(Math.abs).sort(), few = Math.ceil(SHARE * w.length);
  const least = sizes[w.length - few] || Number.MIN_VALUE, sparse = gradient.map((g) => (Math.abs(g) >= least ? g : 0));
  node.before ??= w.slice();
  const factor = (STEP * sizeOf(node.before)) / (sizeOf(sparse) || 1);
  sparse.forEach((g, i) => (w[i] -= factor * g));
}

// Give a lesson to learners: take steps until the network, run anew by `run` after each, answers with the target. Return
// the number of steps, and whether it does.
function* lesson(model, learning, target, run) {
  for (let step = 0; ; step++) {
    const { scores, winner } = decide(model), { output: { classes } } = model;
    if (winner === target || step === STEPS_OF_LESSON) return { steps: step, right: winner === target };
    setErrors(model, [...scores.subarray(scores.length - classes)], target);
    const gradients = [];
    for (const { layer, node } of learning) gradients.push([node, yield* gradientOf(model, layer, node)]);
    for (const [node, gradient] of gradients) descend(node, gradient);
    yield* run();
  }
}

// Bring the weights from before all lessons back.
function forget(model) {
  for (const node of model.nodes) {
    if (node.before) numbers(node.weight).set(node.before);
    delete node.before;
  }
}

// Return what lessons have changed in the weight of a node: {count, share}, the number of weights that are others and
// the size of the changes, in sizes of the weights.
function changesOf({ weight, before }) {
  if (!before) return { count: 0, share: 0 };
  const differences = Float64Array.from(numbers(weight), (w, i) => w - before[i]);
  return { count: differences.reduce((sum, x) => sum + (x !== 0), 0), share: sizeOf(differences) / sizeOf(before) };
}

// Paint what lessons have changed at each pixel of the frames that a node takes: the sum of the changes of its weights.
function paintChanges(canvas, { weight, before }, [rows, columns, channels]) {
  const w = numbers(weight), sums = new Float64Array(rows * columns), each = w.length / (rows * columns);
  if (before) w.forEach((value, i) => (sums[Math.floor(i / each)] += value - before[i]));
  const most = sums.reduce((a, x) => Math.max(a, Math.abs(x)), 0) || 1;
  paint(canvas, [rows, columns], (i) => [...(sums[i] > 0 ? ON : OFF), sums[i] && 50 + (205 * Math.abs(sums[i])) / most]);
}
