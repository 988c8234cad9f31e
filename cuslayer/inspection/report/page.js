// The page: the chosen layer, neuron and time, with their plots, images and table.
"use strict";

const model = new Model(JSON.parse(document.getElementById("contents").textContent));
const chosen = { layer: 0, neuron: 0, time: 0 };
const $ = (id) => document.getElementById(id);
const input = model.layers[0];
const hasFrames = input.shape.length === 3;
const MOST = 10; // inputs with a row of their own in the table
const POTENTIAL = 170, ERROR = 70; // heights of the plots of a neuron, pixels

const rasters = new Rasters($("rasters"), model, choose, (range) => {
  if ($("traces").data) Plotly.relayout($("traces"), { "xaxis.range": range });
});

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Return the index of a neuron as text: a number, or (row, column, channel).
function indexText(layer, neuron) {
  const { shape } = model.layers[layer];
  return shape.length === 1 ? String(neuron) : `(${unravel(neuron, shape).join(", ")})`;
}

const ms = (step) => short(step * model.dt);

function choose(layer, neuron, time) {
  const changed = layer !== chosen.layer || neuron !== chosen.neuron;
  Object.assign(chosen, { layer, neuron, time: Math.max(0, Math.min(model.steps - 1, time)) });
  if (changed) showNeuron();
  showTime();
}

const moveTo = (time) => choose(chosen.layer, chosen.neuron, time);

function showNeuron() {
  const { layer, neuron } = chosen;
  $("layer").value = layer;
  $("neuron").value = neuron;
  $("neuron").max = model.neurons(layer) - 1;
  $("place").textContent = model.layers[layer].shape.length === 1 ? "" : `at ${indexText(layer, neuron)}`;
  $("no-errors").hidden = model.loss !== null || layer === 0;
  const known = layer > 0 && model.potential(layer, neuron);
  $("traces").hidden = !known;
  if (known) drawTraces(known, model.errors(layer, neuron));
}

// Draw the potential of a neuron, and below it its errors.
function drawTraces(known, errors) {
  const { layer, neuron } = chosen, { dt, steps } = model, { theta } = model.layers[layer].neurons;
  const x = Array.from(known.potential, (_, t) => t * dt), spikes = [...model.times(layer, neuron)];
  const line = (y, name, shade, yaxis, more) => ({ x, y, name, type: "scatter", mode: "lines", yaxis,
    line: { color: color(shade), width: 1.4, ...more }, hovertemplate: "%{y:.4~g}" });
  const traces = [];
  if (known.filtered) traces.push(line(known.filtered, "before refraction", "faint", "y", { width: 1, dash: "dot" }));
  traces.push(line(known.potential, "u", "blue", "y"));
  traces.push({ x: [0, (steps - 1) * dt], y: [theta, theta], name: "theta", type: "scatter", mode: "lines",
    hoverinfo: "skip", line: { color: color("faint"), width: 1, dash: "dash" } });
  traces.push({ x: spikes.map((t) => t * dt), y: spikes.map((t) => known.potential[t]), name: "spike", type: "scatter",
    mode: "markers", hoverinfo: "skip", marker: { color: color("ink"), size: 6 } });
  const rows = ["spikes", "potential", "weighted"].filter((name) => errors && errors[name]);
  const inside = POTENTIAL + rows.length * (GAP + ERROR), annotations = [];
  const layout = canvas({ height: inside + 72, margin: { l: 58, r: 12, t: 26, b: 46 }, hovermode: "x", dragmode: "zoom",
    showlegend: true, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal" }, annotations,
    xaxis: axis({ title: { text: "time (ms)" }, range: rasters.range(), showgrid: false, anchor: yOf(rows.length) }),
    yaxis: axis({ domain: [1 - POTENTIAL / inside, 1], nticks: 6 }), shapes: cursors(rows.length) });
  rows.forEach((kind, row) => {
    const top = 1 - (POTENTIAL + row * (GAP + ERROR) + GAP) / inside;
    const name = `error on the ${kind === "weighted" ? "weighted input" : kind}`;
    layout[yAxisOf(row + 1)] = axis({ domain: [Math.max(0, top - ERROR / inside), top], nticks: 4, zeroline: true,
      zerolinecolor: color("faint"), exponentformat: "power" });
    annotations.push(heading(name, top));
    traces.push({ ...line(errors[kind], name, "red", yOf(row + 1)), showlegend: false });
  });
  const node = $("traces"), first = !node.data;
  Plotly.react(node, traces, layout, CONFIG);
  if (first) node.on("plotly_click", ({ points }) => moveTo(Math.round(points[0].x / dt)));
}

// Return the time cursor, a line in each plot of a neuron: its potential and a number of errors.
function cursors(errors) {
  const at = chosen.time * model.dt, line = { color: color("red"), width: 1 };
  return Array.from({ length: 1 + errors }, (_, row) => ({ type: "line", xref: "x", yref: `${yOf(row)} domain`,
    x0: at, x1: at, y0: 0, y1: 1, line }));
}

function showTime() {
  $("time").value = chosen.time;
  $("time").setAttribute("aria-valuetext", `${ms(chosen.time)} ms`);
  $("clock").textContent = `time ${ms(chosen.time)} ms`;
  rasters.mark(chosen);
  const traces = $("traces");
  if (!traces.hidden) Plotly.relayout(traces, { shapes: cursors(traces.layout.shapes.length - 1) });
  if (hasFrames) drawFrame();
  showParts();
}

// Show the parts of the potential of the chosen neuron at the chosen time.
function showParts() {
  const { layer, neuron, time } = chosen, why = layer > 0 && model.explain(layer, neuron, time);
  const who = `${model.layers[layer].name}, neuron ${indexText(layer, neuron)}`;
  $("parts").hidden = !why;
  drawMap(why);
  if (!why) {
    const times = [...model.times(layer, neuron)];
    $("headline").textContent = `${who}: ${times.length} spikes${times.length ? ` at ${listed(times)} ms` : ""}`;
    return;
  }
  const side = why.margin < 0 ? "under" : "over", what = why.fired ? "fired" : "silent";
  $("headline").textContent = `${who} at ${ms(time)} ms: ${what}, u = ${short(why.potential)} is ` +
    `${short(Math.abs(why.margin))} ${side} theta = ${short(why.theta)}`;
  const rows = parts(why), ends = [0];
  for (const { size } of rows) ends.push(ends[ends.length - 1] + size);
  const low = Math.min(...ends, why.theta, 0), span = Math.max(...ends, why.theta, 0) - low || 1;
  const share = (x) => `${(100 * (x - low)) / span}%`;
  const bar = (from, to, shade) => {
    const made = element("i");
    const width = `${(100 * Math.abs(to - from)) / span}%`;
    Object.assign(made.style, { left: share(Math.min(from, to)), width, background: `var(--${shade})` });
    const threshold = element("b", { title: "theta" });
    threshold.style.left = share(why.theta);
    return element("div", { className: "track" }, threshold, made);
  };
  const cell = (...children) => element("td", {}, ...children);
  $("parts").tBodies[0].replaceChildren(
    ...rows.map(({ name, size, times, go }, at) => element("tr", {},
      cell(go ? element("button", { type: "button", title: "show this neuron", onclick: go }, name) : name),
      cell(bar(ends[at], ends[at + 1], size < 0 ? "blue" : "red")), cell(signed(size)), cell(listed(times)))),
    element("tr", { className: "total" },
      cell("u"), cell(bar(0, why.potential, "ink")), cell(signed(why.potential)), cell()),
  );
}

// Return the parts of a potential: the largest inputs, all others as one, and refraction.
function parts({ contributions, filtered, refractory, refractorySpikes, potential }) {
  const several = !model.layers[chosen.layer].connections;
  const rows = contributions.slice(0, MOST).map(({ source, input: other, size, times }) => ({
    name: `input ${indexText(source, other)}${several ? ` of ${model.layers[source].name}` : ""}`, size, times,
    go: () => choose(source, other, times[times.length - 1]) }));
  const others = contributions.slice(MOST);
  if (others.length) rows.push({ name: `${others.length} other input${others.length > 1 ? "s" : ""}`,
    size: others.reduce((sum, part) => sum + part.size, 0), times: [] });
  const unknown = !model.feed(chosen.layer);
  if (unknown) rows.push({ name: "all that comes in", size: filtered ?? potential, times: [] });
  if (refractorySpikes.length) rows.push({ name: "refraction", size: refractory, times: refractorySpikes });
  return rows;
}

const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(4);

// Return the last four times as text.
const listed = (times) => (times.length > 4 ? "…, " : "") + [...times].slice(-4).map(ms).join(", ");

// Paint a canvas: pixel(i) is [r, g, b, opacity] of the flat index i.
function paint(node, [rows, columns], pixel) {
  Object.assign(node, { width: columns, height: rows });
  const context = node.getContext("2d"), image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) image.data.set(pixel(i), 4 * i);
  context.putImageData(image, 0, 0);
}

const OFF = [61, 143, 209], ON = [224, 102, 42]; // visible on white and on black

// Draw the input events of the last model.frame ms up to the cursor.
function drawFrame() {
  const { starts, times } = model.spikes(0), channels = input.shape[2], before = chosen.time - model.frame / model.dt;
  const counts = new Float64Array(model.neurons(0));
  for (let n = 0; n < counts.length; n++) {
    for (let i = starts[n]; i < starts[n + 1]; i++) if (times[i] > before && times[i] <= chosen.time) counts[n]++;
  }
  const [r, g, b] = color("ink").match(/\w\w/g).map((pair) => parseInt(pair, 16));
  paint($("frame"), input.shape, (i) => {
    const here = counts.subarray(i * channels, (i + 1) * channels), sum = here.reduce((a, k) => a + k, 0);
    const opacity = sum && Math.min(255, 110 + 70 * sum);
    if (channels !== 2) return [r, g, b, opacity];
    return [...OFF.map((shade, at) => Math.round((shade * here[0] + ON[at] * here[1]) / (sum || 1))), opacity];
  });
  const colors = channels === 2 ? "; OFF blue, ON red" : "";
  $("frame-caption").textContent = `input: events of the last ${short(model.frame)} ms${colors}`;
}

// Draw the contribution of each pixel to the potential: red excitatory, blue inhibitory. Of several layers that feed the
// neuron, it is the one with the largest contribution of those with frames.
function drawMap(why) {
  const framed = why ? why.contributions.filter(({ source }) => model.layers[source].shape.length === 3) : [];
  const source = framed.length ? framed[0].source : chosen.layer - 1, below = model.layers[source];
  const shown = why && model.feed(chosen.layer) && below.shape.length === 3;
  $("map-figure").hidden = !shown;
  if (!shown) return;
  const sums = new Float64Array(below.shape[0] * below.shape[1]);
  for (const part of framed) if (part.source === source) sums[Math.floor(part.input / below.shape[2])] += part.size;
  const most = sums.reduce((a, x) => Math.max(a, Math.abs(x)), 0) || 1;
  paint($("map"), below.shape, (i) => [...(sums[i] > 0 ? ON : OFF), sums[i] && 50 + (205 * Math.abs(sums[i])) / most]);
  const from = source === chosen.layer - 1 ? "the layer below" : below.name;
  $("map-caption").textContent = `what each pixel of ${from} adds to u: red drives, blue holds back`;
}

function showSample() {
  rasters.draw();
  // Select the neuron of the last layer that fires most, at its first spike.
  const layer = model.layers.length - 1;
  let neuron = 0;
  for (let n = 1; n < model.neurons(layer); n++) {
    if (model.times(layer, n).length > model.times(layer, neuron).length) neuron = n;
  }
  Object.assign(chosen, { layer, neuron, time: model.times(layer, neuron)[0] ?? model.steps - 1 });
  showNeuron();
  showTime();
}

function start() {
  const samples = input.spikes.length, several = samples > 1 ? "s" : "";
  const loss = model.loss === null ? "" : ` · loss ${short(model.loss)}`;
  $("facts").textContent = `${samples} sample${several} · ${model.steps} steps of ${short(model.dt)} ms${loss}`;
  $("sample-field").hidden = samples === 1;
  $("sample").append(...input.spikes.map((_, n) => element("option", { value: n, textContent: n })));
  $("layer").append(...model.layers.map(({ name }, n) => element("option", { value: n, textContent: name })));
  $("time").max = model.steps - 1;
  $("frame-figure").hidden = !hasFrames;
  $("controls").onsubmit = () => false;
  $("sample").onchange = () => { model.choose(Number($("sample").value)); showSample(); };
  $("time").oninput = () => moveTo(Number($("time").value));
  $("layer").onchange = () => choose(Number($("layer").value), 0, chosen.time);
  $("neuron").onchange = () => {
    const number = Math.round(Number($("neuron").value)), most = model.neurons(chosen.layer) - 1;
    $("neuron").value = Math.max(0, Math.min(most, number));
    choose(chosen.layer, Number($("neuron").value), chosen.time);
  };
  document.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const modified = event.ctrlKey || event.altKey || event.metaKey;
    if (!direction || modified || event.target.matches("select, input[type=number]")) return;
    event.preventDefault();
    moveTo(chosen.time + direction * (event.shiftKey ? 10 : 1));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    rasters.draw();
    showNeuron();
    showTime();
  });
  showSample();
  performance.mark("drawn");
}

start();
