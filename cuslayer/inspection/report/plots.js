// What a page shows: plots over time with what the pointer is at, pictures of frames, and the parts of a potential.
"use strict";

const $ = (id) => document.getElementById(id);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
// Return a color as [red, green, blue].
const rgb = (name) => color(name).match(/\w\w/g).map((pair) => parseInt(pair, 16));
// The pixels of a canvas for each CSS pixel: more than two would cost time and show no more.
const pixelRatio = () => Math.min(2, devicePixelRatio || 1);
const short = (x) => String(Number(x.toPrecision(4))).replace("-", "−");
const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(4);
const limit = (value, low, high) => Math.max(low, Math.min(high, value));

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const REACH = 7; // pixels: the pointer is at the nearest spike at most so far away, else at the place itself

// Return the nearest of some places {x, y} to a point, null if none is within reach.
function nearest(point, places) {
  let best = null, least = REACH * REACH;
  for (const place of places) {
    const away = (place.x - point.x) ** 2 + (place.y - point.y) ** 2;
    if (away <= least) [best, least] = [place, away];
  }
  return best;
}

// Return the index of the first of ascending numbers that is not below a limit, from `start` to `end`.
function firstFrom(ascending, least, start, end) {
  while (start < end) {
    const middle = (start + end) >> 1;
    if (ascending[middle] < least) start = middle + 1;
    else end = middle;
  }
  return start;
}

// The label at what the pointer is at, and a ring around it.
const tip = element("div", { id: "tip", hidden: true, ariaHidden: "true" }, element("span"));
document.body.append(tip);
const hideTip = () => (tip.hidden = true);
addEventListener("resize", hideTip);

// Put the ring at a place of the window, and the label above it, inside of the window.
function showTip(x, y, text) {
  const label = tip.firstChild;
  label.textContent = text;
  tip.hidden = false;
  Object.assign(tip.style, { left: `${x + scrollX}px`, top: `${y + scrollY}px` });
  const across = Math.max(4 - x, Math.min(8, document.documentElement.clientWidth - 4 - label.offsetWidth - x));
  Object.assign(label.style, { left: `${across}px`, top: `${Math.max(4 - y, -10 - label.offsetHeight)}px` });
}

// Return round numbers from low to high, about `most` of them.
function ticks(low, high, most) {
  const rough = (high - low) / most || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough * (1 - 1e-9));
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, i) => (first + i) * step);
}

const RIGHT = 10, TOP = 8, LABELS = 34; // pixels around a plot; labels of time are below the last of several

// The visible time of all plots, in steps, and the plots, which are drawn anew when it changes.
class View {
  constructor(model) {
    Object.assign(this, { model, plots: [] });
    this.range = this.whole;
  }

  get whole() {
    return [-0.5, this.model.steps - 0.5];
  }

  // Show a range of time, or another of the same length that is within the recording.
  zoom([low, high]) {
    const [start, end] = this.whole, long = limit(high - low, Math.min(5, end - start), end - start);
    const from = limit((low + high - long) / 2, start, end - long);
    this.range = [from, from + long];
    this.draw();
  }

  // Show all of the time and all neurons.
  reset() {
    for (const plot of this.plots) plot.shown = null;
    this.zoom(this.whole);
  }

  draw() {
    hideTip();
    for (const plot of this.plots) plot.draw();
  }

  // Return the steps whose centres are visible, [first, end).
  get steps() {
    const [low, high] = this.range;
    return [Math.max(0, Math.ceil(low - 0.5)), Math.min(this.model.steps, Math.floor(high + 0.5) + 1)];
  }
}

// A plot over time on a canvas, with a caption above it. A subclass has `values`, the ends of its vertical axis, the
// first at the bottom; `paint(context)`, which draws inside of the axes; `mark(context)`, which draws what changes with
// the time; and `at(point)`, which returns what is at a point, {x, y, text, fired, go}, in pixels of the canvas.
class Plot {
  constructor(view, high, last) {
    this.node = element("canvas");
    this.node.setAttribute("role", "img");
    this.caption = element("figcaption");
    this.figure = element("figure", {}, this.caption, this.node);
    Object.assign(this, { view, high, last, shown: null, band: null });
    view.plots.push(this);
    new ResizeObserver(() => this.node.clientWidth !== this.wide && this.draw()).observe(this.node);
    this.follow();
  }

  // Whether it is the last of several, with labels of time.
  set last(is) {
    this.below = is ? LABELS : 6;
    this.node.style.height = `${TOP + this.high + this.below}px`;
  }

  get left() {
    return this.node.clientWidth < 400 ? 40 : 52;
  }

  // Return the pixels of step 0, of a step, of value 0 and of a unit of the values.
  get scale() {
    const [start, end] = this.view.range, [low, high] = this.shown ?? this.values;
    const across = (this.node.clientWidth - this.left - RIGHT) / (end - start), down = -this.high / (high - low || 1);
    return { left: this.left - start * across, across, top: TOP - high * down, down };
  }

  // Return whether a point is in the axes, or at most `more` pixels from them.
  inside({ x, y }, more = 0) {
    const { clientWidth } = this.node;
    return x >= this.left - more && x <= clientWidth - RIGHT + more && y >= TOP - more && y <= TOP + this.high + more;
  }

  // Draw all of the plot again, after a change of its data, its size, the visible range or the colors of the page.
  draw() {
    const { node, high, below } = this, ratio = pixelRatio(), wide = (this.wide = node.clientWidth);
    if (!wide) return;
    const size = { width: Math.round(wide * ratio), height: Math.round((TOP + high + below) * ratio) };
    this.picture = element("canvas", size);
    const context = this.picture.getContext("2d"), { left, across, top, down } = this.scale, { dt } = this.view.model;
    context.scale(ratio, ratio);
    context.font = "12px system-ui, sans-serif";
    Object.assign(context, { fillStyle: color("faint"), strokeStyle: color("line") });
    context.strokeRect(this.left, TOP, wide - this.left - RIGHT, high);
    context.textAlign = "right";
    for (const value of ticks(...(this.shown ?? this.values), Math.max(2, high / (this.spacing ?? 40)))) {
      context.fillText(this.tick(value), this.left - 6, limit(top + value * down + 4, TOP + 8, TOP + high));
    }
    context.textAlign = "center";
    const times = below === LABELS ? ticks(...this.view.range.map((step) => step * dt), wide / 80) : [];
    for (const time of times) context.fillText(short(time), left + (time / dt) * across, TOP + high + 14);
    if (times.length) context.fillText("time (ms)", (this.left + wide - RIGHT) / 2, TOP + high + 30);
    context.beginPath();
    context.rect(this.left, TOP, wide - this.left - RIGHT, high);
    context.clip();
    this.paint(context, ratio);
    Object.assign(node, { width: this.picture.width, height: this.picture.height });
    this.show();
  }

  tick(value) {
    return short(value);
  }

  // Show the picture of the plot with the marks of the chosen time.
  show() {
    if (!this.wide || !this.picture) return;
    const context = this.node.getContext("2d"), ratio = pixelRatio();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.node.width, this.node.height);
    context.drawImage(this.picture, 0, 0);
    context.scale(ratio, ratio);
    this.mark(context, ratio);
    if (!this.band) return;
    const { x, y, width, height } = this.band;
    Object.assign(context, { globalAlpha: 0.2, fillStyle: color("blue") });
    context.fillRect(x, y, width, height);
    context.globalAlpha = 1;
  }

  // Draw a vertical line at a step.
  line(context, step) {
    const { left, across } = this.scale, x = left + step * across;
    if (!this.inside({ x, y: TOP })) return;
    Object.assign(context, { strokeStyle: color("red"), lineWidth: 1 });
    context.beginPath();
    context.moveTo(x, TOP);
    context.lineTo(x, TOP + this.high);
    context.stroke();
  }

  // Return what is at a point, as `at` does; spikes at the edge are found from outside of the axes. Null elsewhere.
  find(point) {
    const found = this.inside(point, REACH) ? this.at(point) : null;
    if (!found || !(found.fired || this.inside(point))) return null;
    const x = limit(found.x, this.left, this.node.clientWidth - RIGHT);
    return { ...found, x, y: limit(found.y, TOP, TOP + this.high) };
  }

  // Show a label for what the pointer is at, go there on a click, zoom to what the mouse is dragged over, and show all
  // after two clicks at the same thing.
  follow() {
    const { node } = this;
    let pressed = null, start = null, last = null;
    const placed = ({ clientX, clientY }) => {
      const { left, top } = node.getBoundingClientRect();
      return { x: clientX - left, y: clientY - top, left, top };
    };
    const at = (event) => {
      const point = placed(event), found = this.find(point);
      if (found) showTip(point.left + found.x, point.top + found.y, found.text);
      else hideTip();
      return found;
    };
    const end = () => {
      start = this.band = null;
      this.show();
    };
    node.onpointermove = (event) => {
      if (!event.buttons) return at(event);
      const point = placed(event);
      if (!start || Math.hypot(point.x - start.x, point.y - start.y) <= REACH) return;
      pressed = null;
      hideTip();
      if (event.pointerType === "mouse" && event.buttons === 1 && this.inside(start)) this.drag(start, point);
    };
    // Events of a pointer have fractions of a pixel, those of a click whole pixels.
    node.onpointerdown = (event) => {
      start = placed(event);
      if (event.pointerType === "mouse") node.setPointerCapture(event.pointerId);
      pressed = event.button === 0 ? at(event) : null;
    };
    node.onpointerup = () => {
      const { band } = this;
      end();
      if (band) this.zoomTo(band);
    };
    node.onpointercancel = () => {
      pressed = null;
      hideTip();
      end();
    };
    node.onpointerleave = hideTip;
    node.onclick = () => {
      const found = pressed;
      pressed = null;
      if (found) found.go();
      [node.twice, last] = [found && last === found.text, found?.text];
    };
    node.ondblclick = () => {
      if (node.twice) this.view.reset();
    };
  }

  // Mark the part between two points: of time, of the values, or of both, as far as the mouse has moved.
  drag(from, to) {
    const { left, high } = this, right = this.node.clientWidth - RIGHT;
    const part = (a, b, low, end) => (Math.abs(b - a) < 3 * REACH ? [low, end]
      : [limit(Math.min(a, b), low, end), limit(Math.max(a, b), low, end)]);
    const [x, x2] = part(from.x, to.x, left, right);
    const [y, y2] = this.zoomable ? part(from.y, to.y, TOP, TOP + high) : [TOP, TOP + high];
    this.band = x === left && x2 === right && y === TOP && y2 === TOP + high ? null
      : { x, y, width: x2 - x, height: y2 - y };
    this.show();
  }

  zoomTo({ x, y, width, height }) {
    const { left, across, top, down } = this.scale, value = (at) => (at - top) / down;
    if (height < this.high) this.shown = [value(y + height), value(y)];
    this.view.zoom([(x - left) / across, (x + width - left) / across]);
  }
}

// The spikes of a layer, neuron 0 at the bottom. `pick` is called with layer, neuron and step on a click.
class Raster extends Plot {
  constructor(view, layer, pick) {
    const { model } = view, layers = model.layers.length, neurons = model.neurons(layer);
    super(view, limit(6 * neurons, 60, limit(600 / layers - 40, 90, 220)), false);
    Object.assign(this, { model, layer, pick, neurons, zoomable: true });
  }

  get values() {
    return [-0.5, this.neurons - 0.5];
  }

  // Return the neurons whose centres are visible, [first, end).
  get visible() {
    const [low, high] = this.shown ?? this.values;
    return [Math.max(0, Math.ceil(low - 0.5)), Math.min(this.neurons, Math.floor(high + 0.5) + 1)];
  }

  tick(value) {
    return Number.isInteger(value) ? String(value) : "";
  }

  draw() {
    const { model, layer, neurons } = this, { name, shape } = model.layers[layer], { times, values } = model.spikes(layer);
    const rate = (1000 * times.length) / (neurons * model.steps * model.dt), all = times.length.toLocaleString("en");
    const text = values ? `${all} numbers that are not 0` : `${all} spikes, ${short(rate)} Hz a neuron`;
    this.caption.textContent = `${name} · ${shape.join(" × ")} · ${text}`;
    this.node.ariaLabel = `Spikes of ${this.caption.textContent}. Time to the right, neuron 0 at the bottom.`;
    super.draw();
  }

  // Draw the visible spikes as pixels. A pixel of several spikes is darker; a single one stays visible. Larger numbers
  // are darker.
  paint(context, ratio) {
    const { model, layer, left, high } = this, { starts, times, values } = model.spikes(layer), scale = this.scale;
    const wide = Math.ceil((this.wide - left - RIGHT) * ratio), tall = Math.ceil(high * ratio);
    const lit = new Float32Array(wide * tall), least = values ? 0.05 : 0.3;
    const across = scale.across * ratio, down = -scale.down * ratio, [firstStep, endStep] = this.view.steps;
    const long = Math.max(1, Math.round(1.5 * ratio), Math.floor(0.7 * across));
    const thick = Math.max(1, Math.floor(0.8 * down));
    let most = values ? 1e-9 : 1;
    for (let n = this.visible[0]; n < this.visible[1]; n++) {
      const y = Math.round((scale.top + n * scale.down - TOP) * ratio - thick / 2);
      for (let i = starts[n]; i < starts[n + 1]; i++) {
        if (times[i] < firstStep || times[i] >= endStep) continue;
        const x = Math.round((scale.left + times[i] * scale.across - left) * ratio - long / 2);
        const first = Math.max(0, x), end = Math.min(wide, x + long);
        for (let row = Math.max(0, y); row < Math.min(tall, Math.max(0, y) + thick); row++) {
          for (let at = row * wide + first; at < row * wide + end; at++) {
            lit[at] = values ? Math.max(lit[at], Math.abs(values[i])) : lit[at] + 1;
            most = Math.max(most, lit[at]);
          }
        }
      }
    }
    const colored = (name, opacity) => {
      const made = element("canvas", { width: wide, height: tall }), onto = made.getContext("2d");
      const image = onto.createImageData(wide, tall), ink = rgb(name);
      lit.forEach((k, i) => k && image.data.set([...ink, opacity * (least + (1 - least) * Math.sqrt(k / most))], 4 * i));
      onto.putImageData(image, 0, 0);
      return made;
    };
    this.spikes = colored(model.live ? (layer === model.layers.length - 1 ? "red" : "blue") : "ink", 255);
    this.later = model.live ? colored("faint", 110) : this.spikes;
  }

  // Draw the spikes, those after the time of the page faint, the time, and the chosen neuron.
  mark(context, ratio) {
    const { left, high, wide, model } = this, { left: zero, across, top, down } = this.scale, now = time();
    const past = limit(zero + (now + 0.5) * across - left, 0, wide - left - RIGHT);
    const part = (picture, from, to) => {
      const size = [(to - from) * ratio, high * ratio];
      if (to > from) context.drawImage(picture, from * ratio, 0, ...size, left + from, TOP, to - from, high);
    };
    part(this.spikes, 0, past);
    part(this.later, past, wide - left - RIGHT);
    this.line(context, model.live ? now + 0.5 : now);
    if (chosen.layer !== this.layer) return;
    const place = { x: zero + chosen.time * across, y: top + chosen.neuron * down };
    if (!this.inside(place)) return;
    Object.assign(context, { strokeStyle: color("ink"), lineWidth: 2 });
    context.beginPath();
    context.arc(place.x, place.y, 7, 0, 2 * Math.PI);
    context.stroke();
  }

  at(point) {
    const { model, layer } = this, [first, end] = this.view.steps, [low, high] = this.visible;
    const { left, across, top, down } = this.scale, { starts, times } = model.spikes(layer);
    const step = (point.x - left) / across, row = (point.y - top) / down, near = REACH / Math.abs(down);
    const place = (neuron, at) => ({ neuron, step: at, x: left + at * across, y: top + neuron * down });
    const spikes = function* () {
      for (let n = Math.max(low, Math.ceil(row - near)); n <= Math.min(high - 1, Math.floor(row + near)); n++) {
        // The nearest spikes of a neuron are the one before the point and the one behind it.
        const behind = firstFrom(times, step, starts[n], starts[n + 1]);
        for (let i = Math.max(starts[n], behind - 1); i < Math.min(starts[n + 1], behind + 1); i++) {
          if (times[i] >= first && times[i] < end) yield place(n, times[i]);
        }
      }
    };
    const found = nearest(point, spikes())
      ?? place(limit(Math.round(row), low, high - 1), limit(Math.round(step), first, end - 1));
    // A place can be in a spike that is larger than the reach.
    const last = starts[found.neuron + 1], spike = firstFrom(times, found.step, starts[found.neuron], last);
    const fired = spike < last && times[spike] === found.step, { shape } = model.layers[layer];
    const index = shape.length === 1 ? "" : ` at ${indexText({ shape }, found.neuron)}`;
    const { values } = model.spikes(layer), what = values ? `${short(fired ? values[spike] : 0)}: ` : "no spike: ";
    const text = `${fired && !values ? "" : what}${model.ms(found.step)} ms, neuron ${found.neuron}${index}`;
    return { ...found, fired, text, go: () => this.pick(layer, found.neuron, found.step) };
  }
}

// Lines over time with spikes on the last of them. `lines` are [name, values, shade, dash].
class Trace extends Plot {
  constructor(view, high, last, move) {
    super(view, high, last);
    Object.assign(this, { model: view.model, move, lines: [], spikes: [], theta: null, values: [0, 1] });
  }

  // Show other lines, spikes, a threshold where it is not null, and a caption.
  set(lines, spikes, theta, caption) {
    Object.assign(this, { lines, spikes, theta });
    this.caption.textContent = caption;
    const edge = (best) => lines.reduce((end, [, values]) => values.reduce((a, x) => best(a, x), end),
      best(theta ?? 0, 0));
    const low = edge(Math.min), high = edge(Math.max), more = 0.06 * (high - low || 1);
    this.values = [low - more, high + more];
    this.node.setAttribute("aria-label", `${caption} of the neuron over time, from ${short(low)} to ${short(high)}` +
      `${theta === null ? "" : `, with ${spikes.length} spikes; the threshold theta is ${short(theta)}`}.`);
    this.draw();
  }

  height(step) {
    const { top, down } = this.scale;
    return top + this.lines.at(-1)[1][step] * down;
  }

  paint(context) {
    if (!this.lines.length) return;
    const { left, across, top, down } = this.scale, [first, end] = this.view.steps;
    const line = (shade, dash, points) => {
      Object.assign(context, { strokeStyle: color(shade), lineWidth: 1.4 });
      context.setLineDash(dash);
      context.beginPath();
      for (const [step, value] of points) context.lineTo(left + step * across, top + value * down);
      context.stroke();
    };
    const [start, stop] = [Math.max(0, first - 1), Math.min(this.model.steps, end + 1)];
    line("line", [], [[start, 0], [stop, 0]]);
    if (this.theta !== null) line("faint", [5, 4], [[start, this.theta], [stop, this.theta]]);
    for (const [, values, shade, dash] of this.lines) {
      line(shade, dash, Array.from(values.subarray(start, stop), (value, at) => [start + at, value]));
    }
    context.fillStyle = color("ink");
    for (const step of this.spikes) {
      context.beginPath();
      context.arc(left + step * across, this.height(step), 3, 0, 2 * Math.PI);
      context.fill();
    }
  }

  mark(context) {
    this.line(context, chosen.time);
  }

  at(point) {
    const { left, across } = this.scale, [first, end] = this.view.steps;
    const place = (step) => ({ step, x: left + step * across, y: this.height(step) });
    const spike = nearest(point, [...this.spikes].filter((t) => t >= first && t < end).map(place));
    const found = spike ?? place(limit(Math.round((point.x - left) / across), first, end - 1));
    const largest = this.lines.length < 4 ? this.lines
      : [...this.lines].sort(([, a], [, b]) => b[found.step] - a[found.step]).slice(0, 3);
    const values = largest.map(([name, line]) => `${name} ${short(line[found.step])}`);
    const text = [`${this.model.ms(found.step)} ms${spike ? ", spike" : ""}`, ...values].join("\n");
    return { ...found, text, fired: spike !== null, go: () => this.move(found.step) };
  }
}

// The read-out of each class, over the time of the page.
class ReadOut extends Trace {
  mark(context) {
    this.line(context, time() + 0.5);
  }
}

// The class of the largest score at each step, red, on that of the label; class 0 at the bottom.
class Answers extends Plot {
  constructor(view, move) {
    const { classes } = view.model.output;
    super(view, limit(14 * classes, 60, 180), false);
    Object.assign(this, { model: view.model, move, leaders: [], labels: [], values: [-0.5, classes - 0.5], spacing: 14 });
  }

  tick(value) {
    return Number.isInteger(value) ? this.model.className(value).slice(0, 8) : "";
  }

  set({ leaders }, labels) {
    Object.assign(this, { leaders, labels });
    this.caption.textContent = "The answer at each step, red, and the label, grey";
    this.node.ariaLabel = `${this.caption.textContent}: classes over time.`;
    this.draw();
  }

  paint(context) {
    const { left, across, top, down } = this.scale;
    for (const [classes, shade, share] of [[this.labels, "line", 0.9], [this.leaders, "red", 0.45]]) {
      context.fillStyle = color(shade);
      classes.forEach((each, t) => {
        const y = top + (each + share / 2) * down, x = left + (t - 0.5) * across;
        if (each >= 0) context.fillRect(x, y, across + 0.5, -share * down);
      });
    }
  }

  mark(context) {
    this.line(context, time() + 0.5);
  }

  at(point) {
    const { left, across, top, down } = this.scale, { model, leaders, labels } = this;
    const step = limit(Math.round((point.x - left) / across), ...this.view.steps.map((edge, i) => edge - i));
    const text = `${model.ms(step)} ms: ${model.className(leaders[step])}, labelled ${model.className(labels[step])}`;
    return { x: left + step * across, y: top + leaders[step] * down, text, fired: true, go: () => this.move(step) };
  }
}

const OFF = [61, 143, 209], ON = [224, 102, 42]; // visible on white and on black
const INKS = [[213, 62, 50], [26, 145, 80], [61, 120, 220], [190, 120, 20], [150, 80, 170]];

// Return the colors of channels: of two, OFF and ON.
const inksOf = (channels) => (channels === 1 ? [rgb("ink")] : channels === 2 ? [OFF, ON]
  : Array.from({ length: channels }, (_, channel) => INKS[channel % INKS.length]));

// Return the color of channels with some values, in their inks, and the sum of the values.
function mixed(values, inks) {
  const sum = values.reduce((a, value) => a + value, 0);
  return [[0, 1, 2].map((at) => Math.round(inks.reduce((a, ink, c) => a + ink[at] * values[c], 0) / (sum || 1))), sum];
}

// Paint a canvas: pixel(i) is [r, g, b, opacity] of the flat index i.
function paint(node, [rows, columns], pixel) {
  Object.assign(node, { width: columns, height: rows });
  const context = node.getContext("2d"), image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) image.data.set(pixel(i), 4 * i);
  context.putImageData(image, 0, 0);
}

// Draw the input events of the last model.frame ms up to a step, that step included.
function paintEvents(node, model, last) {
  const { shape } = model.layers[0], { starts, times } = model.spikes(0), before = last - model.frame / model.dt;
  const channels = shape[2], counts = new Float64Array(model.neurons(0));
  for (let n = 0; n < counts.length; n++) {
    for (let i = starts[n]; i < starts[n + 1]; i++) if (times[i] > before && times[i] <= last) counts[n]++;
  }
  const inks = inksOf(channels);
  paint(node, shape, (i) => {
    const [ink, sum] = mixed(counts.subarray(i * channels, (i + 1) * channels), inks);
    return [...ink, sum && Math.min(255, 110 + 70 * sum)];
  });
}

// Return the layer of frames whose contributions to a potential are drawn: of several layers that feed the neuron, the
// one with the largest contribution. It is null without one.
function framedSource(model, layer, why) {
  const framed = why.contributions.find(({ source }) => model.layers[source].shape.length === 3);
  const source = framed ? framed.source : layer - 1;
  return model.layers[source].shape.length === 3 ? source : null;
}

// Draw the contribution of each pixel of a layer to a potential: red excitatory, blue inhibitory.
function paintContributions(node, model, layer, why) {
  const { shape } = model.layers[layer], sums = new Float64Array(shape[0] * shape[1]);
  for (const { source, input, size } of why.contributions) {
    if (source === layer) sums[Math.floor(input / shape[2])] += size;
  }
  const most = sums.reduce((a, x) => Math.max(a, Math.abs(x)), 0) || 1;
  paint(node, shape, (i) => [...(sums[i] > 0 ? ON : OFF), sums[i] && 50 + (205 * Math.abs(sums[i])) / most]);
}

const MOST = 10; // inputs with a row of their own in the table of parts

// Return the last four times as text.
const listed = (model, times) =>
  (times.length > 4 ? "…, " : "") + [...times].slice(-4).map((step) => model.ms(step)).join(", ");

// Show in a headline and a table why a neuron fired, or not, at a step; `go` is called with layer, neuron and step on a
// click on an input. Return what `model.explain` returns, null where there is no potential to explain.
function showWhy(model, headline, table, { layer, neuron, time }, go) {
  const why = layer > 0 ? model.explain(layer, neuron, time) : null;
  const who = `${model.layers[layer].name}, neuron ${indexText(model.layers[layer], neuron)}`;
  table.hidden = !why;
  if (!why) {
    const times = [...model.times(layer, neuron)];
    headline.textContent = `${who}: ${times.length} spikes${times.length ? ` at ${listed(model, times)} ms` : ""}`;
    return null;
  }
  const side = why.margin < 0 ? "under" : "over", what = why.fired ? "fired" : "silent";
  headline.textContent = `${who} at ${model.ms(time)} ms: ${what}, u = ${short(why.potential)} is ` +
    `${short(Math.abs(why.margin))} ${side} theta = ${short(why.theta)}`;
  const rows = partsOf(model, layer, why, go), ends = [0];
  for (const { size } of rows) ends.push(ends.at(-1) + size);
  const low = Math.min(...ends, why.theta, 0), span = Math.max(...ends, why.theta, 0) - low || 1;
  const share = (x) => `${(100 * x) / span}%`;
  const bar = (from, to, shade) => {
    const made = element("i"), threshold = element("b", { title: "theta" });
    Object.assign(made.style, { left: share(Math.min(from, to) - low), width: share(Math.abs(to - from)) });
    made.style.background = `var(--${shade})`;
    threshold.style.left = share(why.theta - low);
    return element("div", { className: "track" }, threshold, made);
  };
  const row = (className, ...cells) => element("tr", { className }, ...cells.map((cell) => element("td", {}, cell)));
  table.tBodies[0].replaceChildren(...rows.map(({ name, size, times, go: goThere }, at) => row("",
    goThere ? element("button", { type: "button", title: "show this neuron", onclick: goThere }, name) : name,
    bar(ends[at], ends[at + 1], size < 0 ? "blue" : "red"), signed(size), listed(model, times))),
  row("total", "u", bar(0, why.potential, "ink"), signed(why.potential), ""));
  return why;
}

// Return the parts of a potential: the largest inputs, all others as one, refraction, biases, the rest, and what is
// left.
function partsOf(model, layer, why, go) {
  const { sources, back } = model.layers[layer], chain = sources && !back && sources.join() === String(layer - 1);
  const rows = why.contributions.slice(0, MOST).map(({ source, input, size, times }) => ({
    name: `input ${indexText(model.layers[source], input)}${chain ? "" : ` of ${model.layers[source].name}`}`,
    size, times, go: () => go(source, input, times.at(-1)) }));
  const others = why.contributions.slice(MOST);
  if (others.length) rows.push({ name: `${others.length} other input${others.length > 1 ? "s" : ""}`,
    size: others.reduce((sum, part) => sum + part.size, 0), times: [] });
  if (!why.known) rows.push({ name: "all that comes in", size: why.filtered ?? why.potential, times: [] });
  if (why.refractorySpikes.length) rows.push({ name: "refraction", size: why.refractory, times: why.refractorySpikes });
  if (why.bias) rows.push({ name: "bias", size: why.bias, times: [] });
  if (why.rest) rows.push({ name: "rest", size: why.rest, times: [] });
  if (why.left) rows.push({ name: "not explained", size: why.left, times: [] });
  return rows;
}
