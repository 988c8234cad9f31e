// Spike rasters of all layers, one below the other, as bitmaps of the visible range; a zoom computes them again.
"use strict";

const COLUMNS = 700; // maximum of a bitmap; its rows are limited by the pixels
const LOWEST = 92, HIGHEST = 220, TOGETHER = 600; // heights in pixels: of one raster, and of all
const GAP = 34, PHONE_GAP = 50; // of the gap above each, for a heading of one line, and of two

// Escape text for Plotly, which reads markup.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

// Plotly's name of the y axis of the plot in a row, as traces refer to it.
const yOf = (row) => `y${row ? row + 1 : ""}`;
const yAxisOf = (row) => yOf(row).replace("y", "yaxis");

// The style of all axes.
function axis(more) {
  return { color: color("faint"), gridcolor: color("line"), zeroline: false, linecolor: color("line"), showline: true,
    ticks: "outside", tickcolor: color("line"), ticklen: 3, ...more };
}

const canvas = (more) => ({ paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
  font: { family: "system-ui, sans-serif", size: 12, color: color("ink") }, hovermode: false, ...more });

// Whether the page is as narrow as a phone: headings have two lines then.
const PHONE = matchMedia("(max-width: 520px)");
const left = () => (PHONE.matches ? 44 : 58);

// A finger scrolls the page: the buttons zoom.
const dragmode = () => (matchMedia("(pointer: coarse)").matches ? false : "zoom");

// Return the heading above a plot with its top at y, 0 to 1 in the figure.
const heading = (text, y) => ({ text: plain(text), xref: "paper", yref: "paper", x: 0, y, xanchor: "left",
  yanchor: "bottom", align: "left", showarrow: false, font: { color: color("faint"), size: 12 } });

// Plots follow their elements, which are 0 pixels wide while they are hidden. Plotly's own way, `responsive`, follows
// the window, and drops the height of a layout.
const widths = new ResizeObserver((entries) => entries.forEach(({ target }) => {
  const width = target.clientWidth;
  if (width && width !== target.layout.width) Plotly.relayout(target, { width });
}));

// Return the row of the plot of a figure that has a point, or is at most `more` pixels from it; -1 without one.
function rowAt(node, { x, y }, more) {
  const layout = node._fullLayout;
  const inside = ({ _offset, _length }, at) => at >= _offset - more && at <= _offset + _length + more;
  for (let row = 0; layout[yAxisOf(row)]; row++) {
    if (inside(layout.xaxis, x) && inside(layout[yAxisOf(row)], y)) return row;
  }
  return -1;
}

// Return the pixel of value 0 of an axis in its figure, and the pixels for each unit.
const pixels = (axis) => [axis._offset + axis.l2p(0), axis.l2p(1) - axis.l2p(0)];

// Draw a figure of plots one below the other. find(row, point) returns what a plot has at a point, as `follow` takes
// it, and as `fired` whether it is a spike: one at the edge is found from outside of the plot.
function plot(node, traces, layout, find) {
  const first = !node.data;
  Plotly.react(node, traces, layout, { displayModeBar: false });
  if (!first) return;
  widths.observe(node);
  follow(node, (point) => {
    const row = rowAt(node, point, REACH), found = row < 0 ? null : find(row, point);
    if (!found || !(found.fired || rowAt(node, point, 0) === row)) return null;
    const { xaxis, [yAxisOf(row)]: yaxis } = node._fullLayout;
    const inside = (at, { _offset, _length }) => Math.max(_offset, Math.min(_offset + _length, at));
    return { ...found, x: inside(found.x, xaxis), y: inside(found.y, yaxis) };
  });
}

// Return the bitmap of a layer's spikes within steps and neurons, both [first, end).
function bitmap(model, layer, [firstStep, endStep], [firstNeuron, endNeuron], rows) {
  const { starts, times } = model.spikes(layer), dt = model.dt;
  const across = Math.max(1, Math.ceil((endStep - firstStep) / COLUMNS));
  const down = Math.max(1, Math.ceil((endNeuron - firstNeuron) / rows));
  const columns = Math.ceil((endStep - firstStep) / across);
  const z = Array.from({ length: Math.ceil((endNeuron - firstNeuron) / down) }, () => new Float32Array(columns));
  let most = 1;
  for (let n = firstNeuron; n < endNeuron; n++) {
    const row = z[Math.floor((n - firstNeuron) / down)];
    for (let i = starts[n]; i < starts[n + 1]; i++) {
      if (times[i] < firstStep || times[i] >= endStep) continue;
      most = Math.max(most, ++row[Math.floor((times[i] - firstStep) / across)]);
    }
  }
  // A single spike stays visible however many are in the fullest cell.
  for (const row of z) row.forEach((k, at) => (row[at] = k && 0.3 + 0.7 * Math.sqrt(k / most)));
  return { z, dx: across * dt, dy: down, x0: (firstStep + (across - 1) / 2) * dt, y0: firstNeuron + (down - 1) / 2 };
}

class Rasters {
  // `pick` is called with layer, neuron and step on a click, `zoom` with the visible range of time in ms.
  constructor(node, model, pick, zoom) {
    Object.assign(this, { node, model, pick, zoom });
    this.high = Math.round(Math.max(LOWEST, Math.min(HIGHEST, TOGETHER / model.layers.length - GAP)));
    PHONE.addEventListener("change", () => this.draw(true));
  }

  ink() {
    const [r, g, b] = rgb("ink");
    return [[0, `rgba(${r},${g},${b},0)`], [1, `rgba(${r},${g},${b},1)`]];
  }

  bitmaps() {
    return this.ranges.map((neurons, layer) => bitmap(this.model, layer, this.steps, neurons, this.high));
  }

  // Draw the selected sample: the same part of it as before, or all of it.
  draw(same = false) {
    const { model, node, high } = this, layers = model.layers.length, dt = model.dt;
    const range = (name, whole) => (same ? node.layout[name].range : whole);
    if (!same) {
      this.steps = [0, model.steps];
      this.ranges = model.layers.map((_, layer) => [0, model.neurons(layer)]);
    }
    const gap = PHONE.matches ? PHONE_GAP : GAP, height = layers * (high + gap) + 40, inside = height - 46;
    const layout = canvas({ height, margin: { l: left(), r: 12, t: 2, b: 44 }, dragmode: dragmode(), annotations: [],
      xaxis: axis({ title: { text: "time (ms)" }, range: range("xaxis", [-dt / 2, (model.steps - 0.5) * dt]),
        anchor: yOf(layers - 1), showgrid: false, minallowed: -dt / 2, maxallowed: (model.steps - 0.5) * dt }) });
    const traces = this.bitmaps().map((map, layer) => {
      const top = 1 - (layer * (high + gap) + gap - 10) / inside, count = model.neurons(layer);
      layout[yAxisOf(layer)] = axis({ domain: [Math.max(0, top - high / inside), top],
        range: range(yAxisOf(layer), [-0.5, count - 0.5]), minallowed: -0.5, maxallowed: count - 0.5,
        nticks: 4, showgrid: false, tickformat: "d" });
      const [name, ...rest] = this.heading(layer).map(plain), phone = PHONE.matches;
      const text = phone ? `${name}<br>${rest.join(" · ")}` : [name, ...rest].join(" · ");
      layout.annotations.push({ ...heading("", top), text, xshift: phone ? -left() : 0 });
      return { type: "heatmap", z: map.z, x0: map.x0, dx: map.dx, y0: map.y0, dy: map.dy, xaxis: "x",
        yaxis: yOf(layer), zmin: 0, zmax: 1, colorscale: this.ink(), showscale: false, zsmooth: false };
    });
    layout.shapes = this.shapes();
    node.setAttribute("aria-label", `Spikes of each layer over time, ${layers} rasters one below the other: ` +
      `${model.layers.map((_, layer) => this.heading(layer).join(" · ")).join("; ")}.`);
    const first = !node.data;
    plot(node, traces, layout, (layer, point) => this.at(layer, point));
    if (first) node.on("plotly_relayout", (change) => this.zoomed(change));
  }

  // Return what a raster shows: the layer, its shape, its spikes.
  heading(layer) {
    const { model } = this, { name, shape } = model.layers[layer], { times } = model.spikes(layer);
    const count = model.neurons(layer), rate = (1000 * times.length) / (count * model.steps * model.dt);
    return [name, shape.join(" × "), `${times.length.toLocaleString("en")} spikes, ${short(rate)} Hz a neuron`];
  }

  // Return the time cursor, a line in each raster, and a line at the selected neuron.
  shapes() {
    const { model, chosen } = this;
    if (!chosen) return [];
    const at = chosen.time * model.dt, line = { color: color("red"), width: 1 };
    const cursors = model.layers.map((_, layer) =>
      ({ type: "line", xref: "x", yref: `${yOf(layer)} domain`, x0: at, x1: at, y0: 0, y1: 1, line }));
    return [...cursors, { type: "line", xref: "x domain", yref: yOf(chosen.layer), x0: 0, x1: 1,
      y0: chosen.neuron, y1: chosen.neuron, line: { ...line, dash: "dot" } }];
  }

  mark(chosen) {
    this.chosen = chosen;
    Plotly.relayout(this.node, { shapes: this.shapes() });
  }

  // Show another part of time around a step: a share of the visible one, or all of it for null.
  zoomTo(share, step) {
    const { model, node } = this, { dt, steps } = model, [low, high] = this.range(), ends = [-dt / 2, (steps - 0.5) * dt];
    const long = Math.min(ends[1] - ends[0], Math.max(5 * dt, (high - low) * (share ?? Infinity)));
    const start = Math.max(ends[0], Math.min(ends[1] - long, step * dt - long / 2));
    Plotly.relayout(node, { "xaxis.range": [start, start + long] });
  }

  // Return the visible range of time, ms.
  range() {
    return [...this.node.layout.xaxis.range];
  }

  // Return what the raster of a layer has at a point of the figure.
  at(layer, point) {
    const { model, node } = this, axes = node._fullLayout, [left, across] = pixels(axes.xaxis);
    const [top, down] = pixels(axes[yAxisOf(layer)]), scale = { left, across: across * model.dt, top, down };
    const found = inRaster(model, layer, point, scale, this.steps, this.ranges[layer]);
    return { ...found, go: () => this.pick(layer, found.neuron, found.step) };
  }

  zoomed(change) {
    if (!Object.keys(change).some((key) => key.includes("range"))) return;
    const { model, node } = this, whole = ([low, high], end, unit) =>
      [Math.max(0, Math.floor(low / unit + 0.5)), Math.min(end, Math.ceil(high / unit + 0.5))];
    this.steps = whole(node.layout.xaxis.range, model.steps, model.dt);
    this.ranges = model.layers.map((_, at) => whole(node.layout[yAxisOf(at)].range, model.neurons(at), 1));
    hideTip();
    const maps = this.bitmaps(), each = (name) => maps.map((map) => map[name]);
    Plotly.restyle(node, { z: each("z"), x0: each("x0"), dx: each("dx"), y0: each("y0"), dy: each("dy") });
    this.zoom(node.layout.xaxis.range);
  }
}
