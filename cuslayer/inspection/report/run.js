// Run a network on a drawing or a recording: pixels of the strokes, events of a simulated camera, and spikes, which are
// Python's to the bit, as each sum is rounded to float32 in the same order. tests/inspection/test_demo.py compares them.
//
// Spikes are arrays of 0 and 1, and weighted inputs of numbers, (steps, neurons). The generators yield every few steps,
// so that the page can draw and stop them. STEPS has the steps of neurons that Python has printed.
"use strict";

const AT_ONCE = 8; // steps between two yields
const f32 = Math.fround;
const LEAST = 2 ** -66; // a state under it becomes 0, as in cuslayer/kernels/host/states.py
const NEIGHBOURS = 6; // as in cuslayer/kernels/host/vectors.py
const flushed = (x) => (abs(x) < LEAST ? 0 : x);

// From the strokes of a pen to pixels, each of which is the number of ink pixels in a square of 4 x 4. Strokes are lists
// of [x, y] from 0 to 1, and have a channel as `ink`.
const SQUARE = 4, PEN = 0.07, LEAST_PEN = 1.3; // the pen's width in pads, and at least in pixels
// The digits of the data set were written on paper, scanned, scaled to 32 rows and about 22 columns, and made equally
// bold: about 30 % of the 32 x 32 pixels are ink.
const FINE = 32, WIDEST = 22, INK = 0.305;
const THINNEST = 1, BOLDEST = 5.5, SMALLEST = 0.2; // radii of the pen; the size below which a drawing is not enlarged

const penOf = ({ normalised, size }) => (normalised ? PEN : Math.max(PEN, LEAST_PEN / Math.min(...size)));

// Return the squared distance of a point from a line segment.
function distance2(x, y, [ax, ay, bx, by]) {
  const dx = bx - ax, dy = by - ay, length2 = dx * dx + dy * dy;
  const at = length2 && Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length2));
  return (x - ax - at * dx) ** 2 + (y - ay - at * dy) ** 2;
}

// Return the pixels, 0 or 1, of strokes whose points a function places among them, drawn with a pen of a radius.
function inked(strokes, radius, [high, wide], place) {
  const lines = strokes.map((stroke) => stroke.map(place))
    .flatMap((placed) => placed.map((point, i) => [...placed[Math.max(0, i - 1)], ...point]));
  return Uint8Array.from({ length: high * wide }, (_, i) =>
    Number(lines.some((line) => distance2((i % wide) + 0.5, Math.floor(i / wide) + 0.5, line) <= radius * radius)));
}

// Return the 32 x 32 pixels of strokes, as large and as bold as the digits of the data set.
function asDigit(strokes) {
  const points = strokes.flat(), xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const width = Math.max(right - left, 1e-9), height = Math.max(bottom - top, 1e-9);
  let thin = THINNEST, bold = BOLDEST, ink = null;
  // Halve the interval of radii.
  for (let round = 0; round < 6; round++) {
    const radius = (thin + bold) / 2, room = FINE - 2 * radius;
    const down = room / Math.max(height, width * (room / FINE), SMALLEST);
    const along = Math.min(down, Math.max(WIDEST - 2 * radius, 1) / width);
    ink = inked(strokes, radius, [FINE, FINE], ([x, y]) =>
      [FINE / 2 + (x - (left + right) / 2) * along, FINE / 2 + (y - (top + bottom) / 2) * down]);
    if (ink.reduce((sum, pixel) => sum + pixel, 0) < INK * FINE * FINE) thin = radius;
    else bold = radius;
  }
  return ink;
}

// Return the pixels of strokes, 0 to 16, (rows, columns, inks).
function pixelsOf(draw, strokes) {
  const { size: [rows, columns], inks, normalised } = draw, pixels = new Uint8Array(rows * columns * inks);
  const fine = [rows * SQUARE, columns * SQUARE], radius = (penOf(draw) * Math.min(...fine)) / 2;
  for (let ink = 0; ink < inks; ink++) {
    const own = strokes.filter((stroke) => (stroke.ink ?? 0) === ink);
    if (!own.length) continue;
    const dots = normalised ? asDigit(own) : inked(own, radius, fine, ([x, y]) => [x * fine[1], y * fine[0]]);
    dots.forEach((on, i) => {
      const row = Math.floor(i / fine[1] / SQUARE), column = Math.floor((i % fine[1]) / SQUARE);
      pixels[(row * columns + column) * inks + ink] += on;
    });
  }
  return pixels;
}

// Return spikes at random of pixels, 0 to 16: whether one fires depends on its number and the step alone. Those of a
// large frame share pixels of the drawing.
function* poisson({ size: [, columns], scale, chance }, [height, width, channels], pixels, steps) {
  const chances = numbers(chance), fired = new Uint8Array(steps * height * width * channels);
  for (let t = 0, at = 0; t < steps; t++) {
    for (let n = 0; n < height * width * channels; n++, at++) {
      const pixel = Math.floor(n / channels), row = Math.floor(pixel / width / scale);
      const column = Math.floor((pixel % width) / scale);
      let hash = Math.imul(n + 1, 0x9e3779b1) ^ Math.imul(t + 1, 0x85ebca77);
      hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
      hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
      fired[at] = (hash ^ (hash >>> 15)) >>> 0 < chances[pixels[(row * columns + column) * channels + (n % channels)]];
    }
    if (t % AT_ONCE === 0) yield;
  }
  return fired;
}

// Return the canvas of a camera (cuslayer/data/saccades.py) for an image of size x size values: enlarge image enlarge'.
function enlarged({ size, enlarge, brightest, canvas, corner }, image) {
  const scale = numbers(enlarge), side = scale.length / size, drawn = new Float64Array(canvas[0] * canvas[1]);
  const rows = new Float64Array(side * size);
  for (let i = 0; i < side; i++) {
    for (let k = 0; k < size; k++) {
      for (let j = 0; j < size; j++) rows[i * size + j] += scale[i * size + k] * (image[k * size + j] / brightest);
    }
  }
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j++) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += rows[i * size + k] * scale[j * size + k];
      drawn[(i + corner[0]) * canvas[1] + j + corner[1]] = sum;
    }
  }
  return drawn;
}

// Return the spikes of an image of size x size values, 0 to brightest: the events of a camera as in
// cuslayer/data/simulated_camera.py, the same operations in the same order, in bins as of `Events.to_spikes`.
function* recorded(camera, image, steps, dt) {
  const { shape: [height, width], canvas, dark } = camera, pixels = height * width, drawn = enlarged(camera, image);
  const path = numbers(camera.path), thresholds = numbers(camera.thresholds);
  const fired = new Uint8Array(2 * steps * pixels);
  // The intensities of the next events: most pixels are compared with them and need no logarithm.
  const level = new Float64Array(pixels), low = new Float64Array(pixels), high = new Float64Array(pixels);
  let current = new Float64Array(pixels), previous = new Float64Array(pixels);
  const limits = (n) => {
    low[n] = Math.exp(level[n] - thresholds[2 * n]) - dark;
    high[n] = Math.exp(level[n] + thresholds[2 * n + 1]) - dark;
  };
  // The intensities of the sensor's pixels at a millisecond: bilinear interpolation of the canvas.
  const view = (ms, out) => {
    const y = path[2 * ms], x = path[2 * ms + 1], top = Math.trunc(y), left = Math.trunc(x), across = canvas[1];
    const down = y - top, right = x - left;
    const a = (1 - down) * (1 - right), b = (1 - down) * right, c = down * (1 - right), d = down * right;
    for (let i = 0; i < height; i++) {
      for (let j = 0, at = (top + i) * across + left; j < width; j++, at++) {
        out[i * width + j] = a * drawn[at] + b * drawn[at + 1] + c * drawn[at + across] + d * drawn[at + across + 1];
      }
    }
  };
  view(0, previous);
  for (let n = 0; n < pixels; n++) {
    level[n] = Math.log(previous[n] + dark);
    limits(n);
  }
  for (let ms = 1; ms < path.length / 2; ms++) {
    view(ms, current);
    for (let n = 0; n < pixels; n++) {
      if (low[n] < current[n] && current[n] < high[n]) continue;
      const start = Math.log(previous[n] + dark), end = Math.log(current[n] + dark);
      const polarity = end > level[n] ? 1 : 0, move = polarity ? thresholds[2 * n + 1] : -thresholds[2 * n];
      while ((end - level[n]) / move >= 1) {
        level[n] += move;
        const part = end !== start ? (level[n] - start) / (end - start) : 0;
        const us = 1000 * (ms - 1) + Math.min(Math.max(Math.trunc(1000 * part), 0), 999);
        const step = Math.floor(us / 1000 / dt + 1e-9);
        if (step < steps) fired[2 * (step * pixels + n) + polarity] = 1;
      }
      limits(n);
    }
    [previous, current] = [current, previous];
    yield;
  }
  return fired;
}

// Return spikes of known times, or numbers.
function spikesAt({ starts, times, values }, steps) {
  const neurons = starts.length - 1, fired = new (values ? Float32Array : Uint8Array)(steps * neurons);
  for (let n = 0; n < neurons; n++) {
    for (let i = starts[n]; i < starts[n + 1]; i++) fired[times[i] * neurons + n] = values ? values[i] : 1;
  }
  return fired;
}

// Return the times of spikes, as model.js stores them, and the values of numbers.
function timesOf(fired, neurons) {
  const starts = new Uint32Array(neurons + 1), numeric = fired instanceof Float32Array;
  fired.forEach((one, i) => (starts[(i % neurons) + 1] += one ? 1 : 0));
  for (let n = 0; n < neurons; n++) starts[n + 1] += starts[n];
  const times = new Uint32Array(starts[neurons]), at = starts.slice(0, neurons);
  const values = numeric ? new Float32Array(starts[neurons]) : null;
  fired.forEach((one, i) => {
    if (!one) return;
    if (numeric) values[at[i % neurons]] = one;
    times[at[i % neurons]++] = Math.floor(i / neurons);
  });
  return { starts, times: { array: times }, values: numeric ? { array: values } : undefined };
}

// Return delayed spikes or numbers.
function delayed(x, lags, steps) {
  const out = new x.constructor(x.length), neurons = x.length / steps;
  for (let t = 0; t < steps; t++) {
    for (let n = 0; n < neurons; n++) {
      const to = t + lags[n];
      if (to >= 0 && to < steps) out[to * neurons + n] = x[t * neurons + n];
    }
  }
  return out;
}

// Add the weights of the neurons that fire at a step, in ascending order, to out, from `at` on. A dense layer with
// delays adds one by one, unless it goes back to its own neurons.
function weigh(node, firing, out, at, goesBack = false) {
  if (node.kind === "dense") {
    const w = node.lag ? overLags(node) : numbers(node.weight), { outputs } = node;
    if (goesBack || !node.lag) return weighDense(node, w, firing, out, at);
    for (const n of firing) for (let j = 0; j < outputs; j++) out[at + j] = f32(out[at + j] + w[n * outputs + j]);
    return;
  }
  const w = node.weight && numbers(node.weight);
  for (const n of firing) {
    eachRun(node, n, node.transposed, (first, size, from, stride) => {
      for (let o = 0; o < size; o++) out[at + first + o] = f32(out[at + first + o] + (w ? w[from + o * stride] : 1));
    });
  }
}

// Add the rows of a dense weight in the order of `gather` in cuslayer/kernels/synapse/dense: those of neighbouring
// inputs to each other first.
function weighDense({ outputs }, w, firing, out, at) {
  const some = new Float32Array(outputs);
  for (let e = 0; e < firing.length; ) {
    const end = (Math.floor(firing[e] / NEIGHBOURS) + 1) * NEIGHBOURS;
    some.fill(0);
    for (; e < firing.length && firing[e] < end; e++) {
      for (let j = 0; j < outputs; j++) some[j] += w[firing[e] * outputs + j];
    }
    for (let j = 0; j < outputs; j++) out[at + j] += some[j];
  }
}

// Return the weight of a dense node with delays, (lags inputs, outputs): each is at one lag.
function overLags(node) {
  if (node.spread) return node.spread;
  const w = numbers(node.weight), lag = numbers(node.lag);
  node.spread = new Float32Array(node.lags * w.length);
  w.forEach((weight, i) => (node.spread[lag[i] * w.length + i] = weight));
  return node.spread;
}

// Return the numbers of the inputs that fire at a step and, with lags, at steps before it, ascending.
function firingAt(fired, t, inputs, lags = 1) {
  const found = [];
  for (let lag = 0; lag < Math.min(lags, t + 1); lag++) {
    const at = (t - lag) * inputs;
    for (let n = 0; n < inputs; n++) if (fired[at + n]) found.push(lag * inputs + n);
  }
  return found;
}

// Return the weighted input of neurons after a chain of nodes; numbers are of one input, whose sums have one term.
function* weighted(chain, fired, steps, neurons) {
  let x = null;
  for (const node of chain) {
    if (node.kind === "delay") {
      if (x) x = delayed(x, numbers(node.steps), steps);
      else fired = delayed(fired, numbers(node.steps), steps);
    } else if (node.kind === "norm") {
      const [centre, factor, added] = [node.centre, node.factor, node.added].map(numbers);
      x.forEach((value, i) => {
        const c = i % centre.length;
        x[i] = f32(f32(f32(value - centre[c]) * factor[c]) + added[c]);
      });
    } else if (node.kind !== "join") {
      x = new Float32Array(steps * neurons);
      const inputs = fired.length / steps;
      for (let t = 0; t < steps; t++) {
        weigh(node, firingAt(fired, t, inputs, node.lags), x, t * neurons);
        if (fired instanceof Float32Array) for (let j = 0; j < neurons; j++) x[t * neurons + j] *= fired[t];
        if (t % AT_ONCE === 0) yield;
      }
      // The weight of pooling is the same for every spike: it multiplies their number.
      if (!node.weight) for (let i = 0; i < x.length; i++) x[i] *= f32(node.gain);
      const bias = node.bias && numbers(node.bias);
      if (bias) for (let i = 0; i < x.length; i++) x[i] += bias[i % bias.length];
    }
  }
  return x;
}

// Return {fired, potentials}: the spikes of neurons, which go back through a node where they are recurrent, and their
// potentials (neurons, steps) if they are kept.
function* fire(x, simulation, back, steps, neurons, keeps) {
  const fired = new Uint8Array(steps * neurons), { lags, period } = simulation;
  const { start } = simulation, state = new Float32Array(start.length * neurons), u = new Float32Array(neurons);
  start.forEach((value, i) => state.fill(value, i * neurons, (i + 1) * neurons));
  const total = new Float32Array(neurons), potentials = keeps ? new Float32Array(neurons * steps) : null;
  const columns = numbers(simulation.columns), constants = numbers(simulation.numbers);
  for (let t = 0; t < steps; t++) {
    const given = x.subarray(t * neurons, (t + 1) * neurons);
    if (back) {
      total.fill(0);
      if (t >= back.delay) weigh(back, firingAt(fired, t - back.delay, neurons, back.lags), total, 0, true);
      for (let j = 0; j < neurons; j++) given[j] += total[j];
    }
    if (t < simulation.first) given.fill(0);
    STEPS[simulation.step](neurons, state, columns, period, constants, lags, t, x, u, fired);
    if (keeps) for (let j = 0; j < neurons; j++) potentials[j * steps + t] = u[j];
    if (t % AT_ONCE === 0) yield;
  }
  return { fired, potentials };
}

// Return the nodes of a chain that ends in a node.
function chainTo(model, at) {
  const chain = [];
  for (; model.nodes[at].kind !== "layer"; [at] = model.nodes[at].inputs) chain.unshift(model.nodes[at]);
  return chain;
}

// Run the network of a model on spikes of its input, or on numbers with the weighted input of the first neurons. The
// model has the spikes of all layers at the end, and the potentials that model.js cannot compute.
function* simulate(model, fired, steps, given = null) {
  const { layers, output } = model, found = [{ spikes: timesOf(fired, model.neurons(0)), potentials: null }];
  for (let layer = 1; layer < layers.length; layer++) {
    const neurons = model.neurons(layer), chain = chainTo(model, model.nodes[layers[layer].node].inputs[0]);
    const x = layer === 1 && given ? given.slice() : yield* weighted(chain, fired, steps, neurons);
    const { sources, back, neurons: { simulation, response } } = layers[layer];
    const ran = yield* fire(x, simulation, back, steps, neurons, !response || !sources || back);
    ({ fired } = ran);
    found.push({ spikes: timesOf(fired, neurons), potentials: ran.potentials && [{ array: ran.potentials }] });
    yield;
  }
  let readout = null;
  if (output.simulation) {
    const x = yield* weighted(chainTo(model, output.node), fired, steps, output.classes);
    ({ potentials: readout } = yield* fire(x, output.simulation, null, steps, output.classes, true));
  }
  found.forEach(({ spikes, potentials }, layer) => Object.assign(layers[layer], { spikes: [spikes], potentials }));
  Object.assign(model, { steps, readout, loss: null });
  model.choose(0);
}

// Return the score of each class at each step, (steps, classes): the mean spike count so far, or what a read-out says.
// Classes are groups of neighbouring channels of the last layer, or single neurons; `delays` are the numbers of the
// nodes after it that delay its spikes.
function scoresOf(model) {
  const { output: { classes, delays, over, window }, steps, readout } = model, [first, stop] = window ?? [0, steps];
  const scores = new Float64Array(steps * classes), at = (t, c) => t * classes + c;
  if (readout) readout.forEach((value, i) => (scores[at(i % steps, Math.floor(i / steps))] = value));
  else {
    const layer = model.layers.length - 1, channels = model.layers[layer].shape.at(-1), neurons = model.neurons(layer);
    for (let n = 0; n < neurons; n++) {
      const lag = delays.reduce((sum, number) => sum + numbers(model.nodes[number].steps)[n], 0);
      const of = Math.floor(((n % channels) * classes) / channels);
      for (const time of model.times(layer, n)) {
        if (time + lag >= 0 && time + lag < steps) scores[at(time + lag, of)] += classes / neurons;
      }
    }
  }
  if (over === "every") return scores;
  for (let c = 0; c < classes; c++) {
    let so_far = over === "max" ? -Infinity : 0;
    for (let t = 0; t < steps; t++) {
      const value = scores[at(t, c)];
      if (t >= first && t < stop) so_far = over === "last" ? value : over === "max" ? max(value, so_far) : so_far + value;
      scores[at(t, c)] = t < first ? 0 : over === "mean" ? so_far / (min(t + 1, stop) - first) : so_far;
    }
  }
  return scores;
}

// Return {scores, leaders, winner, time}: the class of the largest score at each step, of equal ones the lowest, and -1
// before there is one; the last leader, and the step from which it leads to the end, or null.
function decide(model) {
  const { steps, output: { classes } } = model, scores = scoresOf(model), leaders = new Int32Array(steps);
  for (let t = 0; t < steps; t++) {
    const now = scores.subarray(t * classes, (t + 1) * classes);
    leaders[t] = now.some((score) => score !== 0) ? now.indexOf(Math.max(...now)) : -1;
  }
  const winner = leaders[steps - 1];
  let time = winner < 0 ? null : steps - 1;
  while (time > 0 && leaders[time - 1] === winner) time--;
  return { scores, leaders, winner, time };
}
