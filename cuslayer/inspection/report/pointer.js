// What the pointer is at in a plot: one rule for the label of a hover and for a click.
//
// It is the spike whose centre is nearest to the pointer, at most REACH pixels away; without one, the place itself.
"use strict";

const REACH = 7; // pixels

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
function firstFrom(ascending, limit, start, end) {
  while (start < end) {
    const middle = (start + end) >> 1;
    if (ascending[middle] < limit) start = middle + 1;
    else end = middle;
  }
  return start;
}

const clamp = (value, [first, end]) => Math.max(first, Math.min(end - 1, value));

// Return what a raster has at a point, {neuron, step, fired, x, y, text}. Step s is drawn at left + s across and neuron
// n at top + n down, in pixels; steps and neurons, both [first, end), are visible.
function inRaster(model, layer, point, { left, across, top, down }, steps, neurons) {
  const { starts, times } = model.spikes(layer), step = (point.x - left) / across, row = (point.y - top) / down;
  const near = REACH / Math.abs(down);
  const place = (neuron, at) => ({ neuron, step: at, x: left + at * across, y: top + neuron * down });
  const spikes = function* () {
    const last = Math.min(neurons[1] - 1, Math.floor(row + near));
    for (let n = Math.max(neurons[0], Math.ceil(row - near)); n <= last; n++) {
      // The nearest spikes of a neuron are the one before the point and the one behind it.
      const behind = firstFrom(times, step, starts[n], starts[n + 1]);
      for (let i = Math.max(starts[n], behind - 1); i < Math.min(starts[n + 1], behind + 1); i++) {
        if (times[i] >= steps[0] && times[i] < steps[1]) yield place(n, times[i]);
      }
    }
  };
  const found = nearest(point, spikes()) ?? place(clamp(Math.round(row), neurons), clamp(Math.round(step), steps));
  // A place can be in a spike that is larger than the reach.
  const end = starts[found.neuron + 1], at = firstFrom(times, found.step, starts[found.neuron], end);
  const fired = at < end && times[at] === found.step;
  const { shape } = model.layers[layer], index = shape.length === 1 ? "" : ` at ${indexText({ shape }, found.neuron)}`;
  const text = `${fired ? "" : "no spike: "}${model.ms(found.step)} ms, neuron ${found.neuron}${index}`;
  return { ...found, fired, text };
}

// Return what the trace of a neuron has at a point, {step, fired, x, y, text}. Step s is drawn at left + s across, and
// height(s) down; steps, [first, end), are visible. `lines` are [name, values] for the label, and `times` spikes.
function inTrace(model, point, { left, across, height }, steps, times, lines) {
  const place = (step) => ({ step, x: left + step * across, y: height(step) });
  const spike = nearest(point, [...times].filter((t) => t >= steps[0] && t < steps[1]).map(place));
  const found = spike ?? place(clamp(Math.round((point.x - left) / across), steps));
  const values = lines.map(([name, line]) => `${name} ${short(line[found.step])}`);
  return { ...found, fired: spike !== null,
    text: [`${model.ms(found.step)} ms${spike ? ", spike" : ""}`, ...values].join("\n") };
}

// The label at what the pointer is at, and a ring around it.
const tip = element("div", { id: "tip", hidden: true }, element("span"));
tip.setAttribute("aria-hidden", "true");
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

// Show a label for what the pointer is at in an element, and go there on a click. find(point) returns it,
// {x, y, text, go}, null for nothing; points are in pixels from the upper left corner of the element.
function follow(node, find) {
  let pressed = null, start = null;
  const at = ({ clientX, clientY }) => {
    const { left, top } = node.getBoundingClientRect(), found = find({ x: clientX - left, y: clientY - top });
    if (found) showTip(left + found.x, top + found.y, found.text);
    else hideTip();
    return found;
  };
  node.addEventListener("pointermove", (event) => {
    const dragged = pressed && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > REACH;
    if (dragged) pressed = null;
    if (event.buttons) return dragged && hideTip();
    at(event);
  });
  // Events of a pointer have fractions of a pixel, those of a click whole pixels.
  node.addEventListener("pointerdown", (event) => {
    start = event;
    pressed = at(event);
  });
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("pointercancel", () => {
    pressed = null;
    hideTip();
  });
  // Plotly adds a click of its own to that of the browser.
  node.addEventListener("click", () => {
    const found = pressed;
    pressed = null;
    if (found) found.go();
  });
}
