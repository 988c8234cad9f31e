// The page: the chosen layer, neuron and time, with their plots, images and table.
"use strict";

const model = new Model(JSON.parse(document.getElementById("contents").textContent));
const chosen = { layer: 0, neuron: 0, time: 0 };
const input = model.layers[0];
const hasFrames = input.shape.length === 3;
const POTENTIAL = 170, ERROR = 70; // heights of the plots of a neuron, pixels

const rasters = new Rasters($("rasters"), model, choose, (range) => {
  if ($("traces").data) Plotly.relayout($("traces"), { "xaxis.range": range });
});
const explanation = new Explanation(model, $("headline"), $("parts"), choose);

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
  $("place").textContent = model.layers[layer].shape.length === 1 ? "" : `at ${indexText(model.layers[layer], neuron)}`;
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
    line: { color: color(shade), width: 1.4, ...more } });
  const traces = [];
  if (known.filtered) traces.push(line(known.filtered, "before refraction", "faint", "y", { width: 1, dash: "dot" }));
  traces.push(line(known.potential, "u", "blue", "y"));
  traces.push({ x: [0, (steps - 1) * dt], y: [theta, theta], name: "theta", type: "scatter", mode: "lines",
    line: { color: color("faint"), width: 1, dash: "dash" } });
  traces.push({ x: spikes.map((t) => t * dt), y: spikes.map((t) => known.potential[t]), name: "spike", type: "scatter",
    mode: "markers", marker: { color: color("ink"), size: 6 } });
  const rows = ["spikes", "potential", "weighted"].filter((name) => errors && errors[name]);
  const inside = POTENTIAL + rows.length * (GAP + ERROR), annotations = [];
  const layout = canvas({ height: inside + 72, margin: { l: left(), r: 12, t: 26, b: 46 }, dragmode: dragmode(),
    showlegend: true, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal" }, annotations,
    xaxis: axis({ title: { text: "time (ms)" }, range: rasters.range(), showgrid: false, anchor: yOf(rows.length) }),
    yaxis: axis({ domain: [1 - POTENTIAL / inside, 1], nticks: 6, title: { text: "u (a.u.)", standoff: 6 } }), shapes: cursors(rows.length) });
  rows.forEach((kind, row) => {
    const top = 1 - (POTENTIAL + row * (GAP + ERROR) + GAP) / inside;
    const name = `error on the ${kind === "weighted" ? "weighted input" : kind}`;
    layout[yAxisOf(row + 1)] = axis({ domain: [Math.max(0, top - ERROR / inside), top], nticks: 4, zeroline: true,
      zerolinecolor: color("faint"), exponentformat: "power" });
    annotations.push(heading(name, top));
    traces.push({ ...line(errors[kind], name, "red", yOf(row + 1)), showlegend: false });
  });
  const node = $("traces"), ends = (best) => short(known.potential.reduce((a, u) => best(a, u)));
  node.setAttribute("aria-label", `Potential u of the neuron over time, from ${ends(Math.min)} to ${ends(Math.max)}, with ` +
    `${spikes.length} spikes; the threshold theta is ${short(theta)}.${rows.length ? " Below it its errors." : ""}`);
  plot(node, traces, layout, inTraces);
}

// Return what a plot of the chosen neuron has at a point: its potential with spikes, or an error.
function inTraces(row, point) {
  const { _fullLayout: axes, data } = $("traces"), [left, across] = pixels(axes.xaxis);
  const [top, down] = pixels(axes[yAxisOf(row)]), lines = data.filter(({ yaxis }) => yaxis === yOf(row));
  const { y } = lines.at(-1);
  const scale = { left, across: across * model.dt, height: (step) => top + y[step] * down };
  const times = row ? [] : model.times(chosen.layer, chosen.neuron);
  const found = inTrace(model, point, scale, rasters.steps, times, lines.map((line) => [line.name, line.y]));
  return { ...found, go: () => moveTo(found.step) };
}

// Return the time cursor, a line in each plot of a neuron: its potential and a number of errors.
function cursors(errors) {
  const at = chosen.time * model.dt, line = { color: color("red"), width: 1 };
  return Array.from({ length: 1 + errors }, (_, row) => ({ type: "line", xref: "x", yref: `${yOf(row)} domain`,
    x0: at, x1: at, y0: 0, y1: 1, line }));
}

function showTime() {
  $("time").value = chosen.time;
  $("time").setAttribute("aria-valuetext", `${model.ms(chosen.time)} ms`);
  $("clock").textContent = `time ${model.ms(chosen.time)} ms`;
  rasters.mark(chosen);
  const traces = $("traces");
  if (!traces.hidden) Plotly.relayout(traces, { shapes: cursors(traces.layout.shapes.length - 1) });
  if (hasFrames) drawFrame();
  showParts();
}

// Show the parts of the potential of the chosen neuron at the chosen time, and those of each pixel of a layer below.
function showParts() {
  const { layer, neuron, time } = chosen, why = explanation.show(layer, neuron, time);
  const source = why && model.feed(layer) ? framedSource(model, layer, why) : null;
  $("map-figure").hidden = source === null;
  if (source === null) return;
  paintContributions($("map"), model, source, why);
  const from = source === layer - 1 ? "the layer below" : model.layers[source].name;
  $("map-caption").textContent = `what each pixel of ${from} adds to u: red drives, blue holds back`;
}

// Draw the input events of the last model.frame ms up to the cursor.
function drawFrame() {
  paintEvents($("frame"), model, chosen.time);
  const colors = input.shape[2] === 2 ? "; OFF blue, ON red" : "";
  $("frame-caption").textContent = `input: events of the last ${short(model.frame)} ms${colors}`;
}

// Move to the spike of the chosen neuron before or after the chosen time.
function moveToSpike(direction) {
  const times = [...model.times(chosen.layer, chosen.neuron)], after = (t) => direction * (t - chosen.time) > 0;
  const time = direction > 0 ? times.find(after) : times.findLast(after);
  if (time !== undefined) moveTo(time);
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
  $("previous").onclick = () => moveToSpike(-1);
  $("next").onclick = () => moveToSpike(1);
  $("zoom-in").onclick = () => rasters.zoomTo(0.5, chosen.time);
  $("zoom-out").onclick = () => rasters.zoomTo(2, chosen.time);
  $("whole").onclick = () => rasters.zoomTo(null, chosen.time);
  document.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const modified = event.ctrlKey || event.altKey || event.metaKey;
    if (!direction || modified || event.target.matches("select, input[type=number]")) return;
    event.preventDefault();
    moveTo(chosen.time + direction * (event.shiftKey ? 10 : 1));
  });
  PHONE.addEventListener("change", showNeuron);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    rasters.draw(true);
    showNeuron();
    showTime();
  });
  showSample();
  // Plotly measures texts in a picture beside the page.
  $("js-plotly-tester")?.setAttribute("aria-hidden", "true");
  performance.mark("drawn");
}

start();
