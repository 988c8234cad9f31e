// Run a network on a drawn digit: pixels of the strokes, events of a simulated camera, and spikes, which are Python's to
// the bit, as each sum is rounded to float32 in the same order. tests/inspection/test_demo.py compares them.
//
// Spikes are arrays of 0 and 1, and weighted inputs of numbers, (steps, neurons). The generators yield every few steps,
// so that the page can draw and stop them.
"use strict";

const AT_ONCE = 8; // steps between two yields
const f32 = Math.fround;

// From the strokes of a pen to the 8 x 8 pixels of a digit, as the digits of the data set were made. Those were written
// on paper, scanned, scaled to 32 rows and about 22 columns, and made equally bold: about 30 % of the 32 x 32 pixels are
// ink. A pixel of the digit is the number of ink pixels in a square of 4 x 4.
const FINE = 32, SQUARE = 4, WIDEST = 22, INK = 0.305;
const THINNEST = 1, BOLDEST = 5.5, SMALLEST = 0.2; // radii of the pen; the size below which a drawing is not enlarged

// Return the squared distance of a point from a line segment.
function distance2(x, y, [ax, ay, bx, by]) {
  const dx = bx - ax, dy = by - ay, length2 = dx * dx + dy * dy;
  const at = length2 && Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length2));
  return (x - ax - at * dx) ** 2 + (y - ay - at * dy) ** 2;
}

// Return the 32 x 32 pixels, 0 or 1, of strokes drawn with a pen of a radius. Strokes are lists of [x, y] from 0 to 1.
function inked(strokes, radius) {
  const points = strokes.flat(), xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const width = Math.max(right - left, 1e-9), height = Math.max(bottom - top, 1e-9), room = FINE - 2 * radius;
  const down = room / Math.max(height, width * (room / FINE), SMALLEST);
  const along = Math.min(down, Math.max(WIDEST - 2 * radius, 1) / width);
  const place = ([x, y]) => [FINE / 2 + (x - (left + right) / 2) * along, FINE / 2 + (y - (top + bottom) / 2) * down];
  const lines = strokes.map((stroke) => stroke.map(place))
    .flatMap((placed) => placed.map((point, i) => [...placed[Math.max(0, i - 1)], ...point]));
  return Uint8Array.from({ length: FINE * FINE }, (_, i) =>
    Number(lines.some((line) => distance2((i % FINE) + 0.5, Math.floor(i / FINE) + 0.5, line) <= radius * radius)));
}

// Return the 8 x 8 pixels, 0 to 16, of strokes.
function pixelsOf(strokes) {
  const side = FINE / SQUARE, pixels = new Uint8Array(side * side);
  if (!strokes.length) return pixels;
  let thin = THINNEST, bold = BOLDEST, ink = null;
  // The boldness of the data set: halve the interval of radii.
  for (let round = 0; round < 6; round++) {
    const radius = (thin + bold) / 2;
    ink = inked(strokes, radius);
    if (ink.reduce((sum, pixel) => sum + pixel, 0) < INK * FINE * FINE) thin = radius;
    else bold = radius;
  }
  ink.forEach((on, i) => (pixels[Math.floor(i / FINE / SQUARE) * side + Math.floor((i % FINE) / SQUARE)] += on));
  return pixels;
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
  const path = numbers(camera.path), thresholds = numbers(camera.thresholds), fired = new Uint8Array(2 * steps * pixels);
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

// Return the spikes of known times.
function spikesAt({ starts, times }, steps) {
  const neurons = starts.length - 1, fired = new Uint8Array(steps * neurons);
  for (let n = 0; n < neurons; n++) for (let i = starts[n]; i < starts[n + 1]; i++) fired[times[i] * neurons + n] = 1;
  return fired;
}

// Return the times of spikes, as model.js stores them.
function timesOf(fired, neurons) {
  const starts = new Uint32Array(neurons + 1);
  fired.forEach((one, i) => (starts[(i % neurons) + 1] += one));
  for (let n = 0; n < neurons; n++) starts[n + 1] += starts[n];
  const times = new Uint32Array(starts[neurons]), at = starts.slice(0, neurons);
  fired.forEach((one, i) => one && (times[at[i % neurons]++] = Math.floor(i / neurons)));
  return { starts, times: { array: times } };
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

// Add the weights of the neurons that fire at a step, in ascending order, to out, from `at` on.
function weigh(node, firing, out, at) {
  const w = node.weight && numbers(node.weight);
  if (node.kind === "dense") return weighDense(node, w, firing, out, at);
  for (const n of firing) {
    eachRun(node, n, node.transposed, (first, size, from, stride) => {
      for (let o = 0; o < size; o++) out[at + first + o] = f32(out[at + first + o] + (w ? w[from + o * stride] : 1));
    });
  }
}

// Add the rows of a dense weight in the order of `add_rows` in cuslayer/kernels/dense: that of few spikes four at a time,
// that of many after the sum of those in each six neighbouring inputs.
function weighDense({ outputs, sixesAbove, together }, w, firing, out, at) {
  if (firing.length > sixesAbove) {
    const some = new Float32Array(outputs);
    for (let e = 0; e < firing.length; ) {
      const end = (Math.floor(firing[e] / together) + 1) * together;
      some.fill(0);
      for (; e < firing.length && firing[e] < end; e++) {
        for (let j = 0; j < outputs; j++) some[j] += w[firing[e] * outputs + j];
      }
      for (let j = 0; j < outputs; j++) out[at + j] += some[j];
    }
    return;
  }
  const whole = firing.length - (firing.length % 4);
  for (let e = 0; e < whole; e += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => firing[e + k] * outputs);
    for (let j = 0; j < outputs; j++) {
      out[at + j] = f32(out[at + j] + f32(f32(w[a + j] + w[b + j]) + f32(w[c + j] + w[d + j])));
    }
  }
  for (let e = whole; e < firing.length; e++) {
    for (let j = 0; j < outputs; j++) out[at + j] = f32(out[at + j] + w[firing[e] * outputs + j]);
  }
}

// Return the weighted input of neurons after a chain of nodes.
function* weighted(chain, fired, steps, neurons) {
  let x = null;
  for (const node of chain) {
    if (node.kind === "delay") {
      if (x) x = delayed(x, numbers(node.steps), steps);
      else fired = delayed(fired, numbers(node.steps), steps);
    } else if (node.kind !== "join") {
      x = new Float32Array(steps * neurons);
      const inputs = fired.length / steps;
      for (let t = 0; t < steps; t++) {
        const firing = [];
        for (let n = 0; n < inputs; n++) if (fired[t * inputs + n]) firing.push(n);
        weigh(node, firing, x, t * neurons);
        if (t % AT_ONCE === 0) yield;
      }
      // The weight of pooling is the same for every spike: it multiplies their number.
      if (!node.weight) for (let i = 0; i < x.length; i++) x[i] *= f32(node.gain);
    }
  }
  return x;
}

// Return {fired, potentials}: the spikes of neurons, and the potentials (neurons, steps) of neurons whose potential
// model.js cannot compute, else null.
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

// A step of spike response neurons, as in cuslayer/kernels/srm. Times are limited by `cut`.
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

// A step of fixed-point neurons, as in cuslayer/kernels/loihi.
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

// Return the nodes of a chain that ends in a layer.
function chainTo(model, layer) {
  const chain = [];
  let [at] = model.nodes[model.layers[layer].node].inputs;
  for (; model.nodes[at].kind !== "layer"; [at] = model.nodes[at].inputs) chain.unshift(model.nodes[at]);
  return chain;
}

// Run the network of a model on spikes of its input. The model has the spikes of all layers at the end.
function* simulate(model, fired) {
  const { steps, layers } = model, found = [{ spikes: timesOf(fired, model.neurons(0)), potentials: null }];
  for (let layer = 1; layer < layers.length; layer++) {
    const neurons = model.neurons(layer), x = yield* weighted(chainTo(model, layer), fired, steps, neurons);
    const ran = yield* fire(x, layers[layer].neurons.simulation, steps, neurons);
    ({ fired } = ran);
    found.push({ spikes: timesOf(fired, neurons), potentials: ran.potentials && [{ array: ran.potentials }] });
    yield;
  }
  found.forEach(({ spikes, potentials }, layer) => Object.assign(layers[layer], { spikes: [spikes], potentials }));
  model.choose(0);
}

// Return the mean spike count of each class up to a step, that step included. Classes are groups of neighbouring channels
// of the last layer, or single neurons; `delays` are the numbers of the nodes after it that delay its spikes.
function countsOf(model, last) {
  const layer = model.layers.length - 1, { classes, delays } = model.output, { starts, times } = model.spikes(layer);
  const channels = model.layers[layer].shape.at(-1), counts = new Array(classes).fill(0);
  for (let n = 0; n < starts.length - 1; n++) {
    const lag = delays.reduce((sum, number) => sum + numbers(model.nodes[number].steps)[n], 0);
    for (let i = starts[n]; i < starts[n + 1]; i++) {
      const time = times[i] + lag;
      if (time >= 0 && time <= last) counts[Math.floor(((n % channels) * classes) / channels)]++;
    }
  }
  return counts.map((each) => (each * classes) / (starts.length - 1));
}

// Return the class of most spikes up to a step, -1 without spikes; of equal counts, the lowest class.
function leader(model, last) {
  const counts = countsOf(model, last), most = Math.max(...counts);
  return most > 0 ? counts.indexOf(most) : -1;
}

// Return {winner, counts, time}: the class of most spikes, and the step from which it leads to the end, null without one.
function decide(model) {
  const last = model.steps - 1, winner = leader(model, last);
  let time = winner < 0 ? null : last;
  while (time > 0 && leader(model, time - 1) === winner) time--;
  return { winner, counts: countsOf(model, last), time };
}
