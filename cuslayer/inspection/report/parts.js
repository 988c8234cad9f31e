// The parts of a potential whose neurons are a step: integrated gradients, as in cuslayer/neurons/integrated.py, which
// says what they are. HELD has the steps that Python has printed, with their spikes held: `run` writes the outputs, the
// states after a step and the potential; `slopes` adds the derivatives of their sum with some weights.
"use strict";

const trunc = Math.trunc, abs = Math.abs, exp = Math.exp;
const min = (a, b) => (a < b ? a : b), max = (a, b) => (a > b ? a : b);
const finite = (x) => (Number.isFinite(x) ? x : 0);

// Round to the nearest integer, halves to even.
function rint(x) {
  const below = Math.floor(x), rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

// Gauss-Legendre points from 0 to 1, and their weights.
const PLACES = [0.04691007703066800, 0.23076534494715845, 0.5, 0.76923465505284155, 0.95308992296933200];
const SHARES = [0.11846344252809454, 0.23931433524968324, 0.28444444444444444, 0.23931433524968324, 0.11846344252809454];
// The limits of integrated.py.
const FINEST = 2 ** -12, MOST_VALUES = 1 << 14, REMAINDER = 1e-6, ACCEPTED = 1e-4, MOST_SIZE = 100;

// Return x of some steps ago, 0 before the first step.
function late(x, lag) {
  const out = new Float64Array(x.length);
  if (lag < x.length) out.set(x.subarray(0, x.length - lag), lag);
  return out;
}

const sumOf = (values, of) => values.reduce((sum, value, at) => sum + of(value, at), 0);

// A neuron with its weighted input x and its spikes at each step up to the explained one.
class Course {
  constructor({ held, theta }, neuron, x, fired) {
    const { period, start } = held, columns = numbers(held.columns), end = x.length;
    const own = Array.from({ length: columns.length / period }, (_, at) => columns[(neuron % period) + at * period]);
    // A lag of 0 means never.
    const lags = (given) => given.map((lag, at) => (at ? lag || end : 0));
    Object.assign(this, { program: HELD[held.step], start, theta: abs(Math.fround(theta)), exact: held.exact, end });
    Object.assign(this, { lags: lags(held.lags), spikeLags: lags(held.spikeLags), constants: [...numbers(held.numbers), ...own] });
    this.inputs = this.lags.map((lag) => late(x, lag));
    const spikes = this.spikeLags.map((lag) => late(fired, lag));
    this.spikes = Array.from({ length: end }, (_, t) => spikes.map((row) => row[t]));
    this.variables = start.length + this.inputs.length;
    Object.assign(this, this.run(0, end, start, 1, this.spikes, Infinity));
  }

  // Run some steps from a state with a share of the input. Return the variables, the states and inputs, of each step, and
  // the outputs of each.
  run(first, steps, state, share, spikes, limit) {
    const { program, inputs, constants, variables: all } = this, states = state.length;
    const values = new Float64Array(steps * all), outputs = new Float64Array(steps * (states + 1));
    for (let t = 0; t < steps; t++) {
      const now = values.subarray(t * all, (t + 1) * all);
      now.set(state);
      for (let k = 0; k < inputs.length; k++) now[states + k] = share * inputs[k][first + t];
      const after = outputs.subarray(t * (states + 1), (t + 1) * (states + 1));
      program.run(now, spikes[t], constants, limit, after);
      state = after.subarray(0, states);
    }
    return { values, outputs };
  }
}

// A sum over some steps on the line from no input to the input, and from the start to the states before them: of the last
// potential, and of the distances of the states behind from the start.
class Line {
  constructor(course, first, steps, ofPotential, ofStates, limit) {
    const { start, values, variables, spikes } = course;
    Object.assign(this, { course, first, steps, ofPotential, ofStates, limit });
    this.spikes = spikes.slice(first, first + steps);
    this.change = start.map((value, at) => values[first * variables + at] - value);
  }

  run(place, spikes = this.spikes) {
    const { course, first, steps, change } = this, state = course.start.map((value, at) => value + place * change[at]);
    return course.run(first, steps, state, place, spikes, this.limit);
  }

  // Return the sum of a run.
  of({ outputs }) {
    const { course: { start }, ofStates, ofPotential } = this, behind = outputs.subarray(outputs.length - start.length - 1);
    return ofPotential * behind[start.length] + sumOf(start, (value, at) => ofStates[at] * (behind[at] - value));
  }

  // Return the share of each spike as [step, share], and the rest: spikes are left out without input, the earliest first.
  bySpikes() {
    const { course: { spikeLags }, first, spikes } = this;
    const fired = spikes.map((row, t) => row.map((spike, at) => (spike ? first + t - spikeLags[at] : -1)));
    const times = [...new Set(fired.flat())].filter((time) => time >= 0).sort((a, b) => a - b);
    const sums = [...times, Infinity].map((least) =>
      this.of(this.run(0, spikes.map((row, t) => row.map((spike, at) => (fired[t][at] >= least ? spike : 0))))));
    return { shares: times.map((time, at) => [time, sums[at] - sums[at + 1]]), rest: sums.at(-1) };
  }

  // Return the derivatives of the sum at a place of the line by the inputs of each step, then by the states before.
  slopes(place) {
    const { course, steps, spikes, limit } = this, { program, constants, inputs, start, variables } = course;
    const { values } = this.run(place), found = new Float64Array(inputs.length * steps + start.length);
    let weights = [...this.ofStates, this.ofPotential];
    for (let t = steps - 1; t >= 0; t--) {
      const into = new Float64Array(variables);
      program.slopes(values.subarray(t * variables, (t + 1) * variables), spikes[t], constants, limit, weights, into);
      for (let k = 0; k < inputs.length; k++) found[k * steps + t] = into[start.length + k];
      weights = [...into.subarray(0, start.length), 0];
    }
    found.set(weights.slice(0, start.length), inputs.length * steps);
    return found;
  }

  // Return what a derivative multiplies: the inputs of each step, then the changes of the states before.
  get changes() {
    const { course: { inputs }, first, steps, change } = this;
    return [...inputs.flatMap((row) => [...row.subarray(first, first + steps)]), ...change];
  }

  // Return the mean derivatives on the line. Intervals are halved until each has the change of the sum.
  byInputs(accuracy) {
    const { changes } = this, mean = new Float64Array(changes.length), most = max(1, Math.floor(MOST_VALUES / mean.length));
    for (let starts = [0], width = 1; ; width /= 2) {
      const parts = starts.map((start) => {
        const part = new Float64Array(mean.length);
        PLACES.forEach((place, k) => this.slopes(start + width * place).forEach((slope, at) =>
          (part[at] += SHARES[k] * width * slope)));
        const change = this.of(this.run(start + width)) - this.of(this.run(start));
        return { start, part, rough: !(abs(change - sumOf(part, (slope, at) => slope * changes[at])) <= accuracy) };
      });
      const rough = parts.filter((each) => each.rough), finest = width <= FINEST || 2 * rough.length > most;
      for (const { part, rough: isRough } of parts) {
        if (finest || !isRough) part.forEach((slope, at) => (mean[at] += slope));
      }
      if (finest || !rough.length) return mean;
      starts = [...rough.map(({ start }) => start), ...rough.map(({ start }) => start + width / 2)];
    }
  }
}

// Return the parts of a sum over some steps: without a limit of the potential, else with it.
function divided(course, first, steps, ofPotential, ofStates) {
  const { start, theta, exact } = course, outputs = course.outputs.subarray((first + steps - 1) * (start.length + 1));
  const change = start.map((value, at) => outputs[at] - value), potential = outputs[start.length];
  const whole = ofPotential * potential + sumOf(change, (value, at) => ofStates[at] * value);
  const size = ofPotential * max(abs(potential), theta) + sumOf(change, (value, at) => abs(ofStates[at] * value));
  let found = null;
  for (const limit of exact ? [Infinity] : [Infinity, theta]) {
    const line = new Line(course, first, steps, ofPotential, ofStates, limit), { shares, rest } = line.bySpikes();
    const slopes = line.byInputs(REMAINDER * size), { changes } = line;
    const parts = [...changes.map((value, at) => value * slopes[at]), ...shares.map(([, share]) => share), rest];
    const near = exact || steps === 1 || sumOf(parts, abs) <= MOST_SIZE * size;
    found = { slopes, shares, rest, accepted: near && abs(whole - sumOf(parts, (part) => part)) <= ACCEPTED * size };
    if (found.accepted) break;
  }
  return found;
}

// Return where steps are split: behind the spike in the middle, or in the middle.
function middleOf(spikes) {
  const behind = spikes.slice(0, -1).flatMap(([spike], t) => (spike ? [t + 1] : []));
  return behind.length ? behind[Math.floor(behind.length / 2)] : Math.floor(spikes.length / 2);
}

// Return the parts of a potential, of all steps at once, or split where they are not accepted.
function inSpans(course, split) {
  const { start, end, inputs, lags, spikes, theta, outputs } = course, states = start.length;
  const ofInput = new Float64Array(end), ofSpikes = new Float64Array(end), spans = [[0, end]];
  let rest = 0, ofStates = start.map(() => 0), accepted = true;
  while (spans.length) {
    const [first, last] = spans.pop(), steps = last - first;
    const found = divided(course, first, steps, Number(last === end), ofStates);
    if (split && !found.accepted && steps > 1) {
      const middle = first + middleOf(spikes.slice(first, last));
      spans.push([first, middle], [middle, last]);
      continue;
    }
    lags.forEach((lag, k) => {
      for (let t = max(first, lag); t < last; t++) ofInput[t - lag] += found.slopes[k * steps + t - first];
    });
    for (const [time, share] of found.shares) ofSpikes[time] += share;
    rest += found.rest;
    ofStates = [...found.slopes.subarray(inputs.length * steps)];
    accepted = accepted && found.accepted;
  }
  const size = sumOf(ofInput, (part, t) => abs(part * inputs[0][t])) + sumOf(ofSpikes, abs) + abs(rest);
  const near = size <= MOST_SIZE * max(abs(outputs[end * (states + 1) - 1]), theta);
  return { ofInput, ofSpikes, rest, accepted, near };
}

// Return {ofInput, ofSpikes, rest}: the contribution of a weighted input of 1 at each step up to the last of x to the
// potential there, the share of each spike, and what is there without both.
function stepParts(neurons, neuron, x, fired) {
  const course = new Course(neurons, neuron, x, fired), parts = inSpans(course, false);
  if (parts.accepted || neurons.held.exact) return parts;
  const pieces = inSpans(course, true);
  return pieces.near ? pieces : parts;
}
