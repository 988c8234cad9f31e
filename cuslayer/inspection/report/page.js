// The page: the chosen layer, neuron and time, with their plots, pictures and table.
"use strict";

const model = new Model(JSON.parse($("contents").textContent));
const chosen = { layer: model.layers.length - 1, neuron: 0, time: 0 };
const input = model.layers[0], hasFrames = input.shape.length === 3;
const POTENTIAL = 150, ERROR = 56; // heights of the plots of a neuron, pixels

const view = new View(model);
const rasters = model.layers.map((_, layer) => new Raster(view, layer, choose));
const shownErrors = model.loss === null ? [] : ["spikes", "potential", "weighted"];
const traces = ["u", ...shownErrors].map((name, at) =>
  new Trace(view, at ? ERROR : POTENTIAL, true, (step) => choose(chosen.layer, chosen.neuron, step)));
const live = model.live ? new Live(model, showRun, showTime) : null;
const readOut = live && model.output.simulation ? new ReadOut(view, POTENTIAL, false, moveTo) : null;
const answers = live && live.samples.some(({ labels }) => labels) ? new Answers(view, moveTo) : null;
const overTime = [...rasters, readOut, answers].filter(Boolean);
overTime.at(-1).last = true;

// The step up to which the page shows what happened.
function time() {
  return live ? live.player.step : chosen.time;
}

function choose(layer, neuron, step) {
  const changed = layer !== chosen.layer || neuron !== chosen.neuron;
  Object.assign(chosen, { layer, neuron, time: limit(step, 0, model.steps - 1) });
  if (changed) showNeuron();
  for (const trace of traces) trace.show();
  showWhyHere();
  showTime();
}

function moveTo(step) {
  if (!live) return choose(chosen.layer, chosen.neuron, step);
  live.player.play(false);
  live.player.move(step);
}

function showNeuron() {
  const { layer, neuron } = chosen, known = layer > 0 ? model.potential(layer, neuron) : null;
  $("layer").value = layer;
  Object.assign($("neuron"), { max: model.neurons(layer) - 1, value: neuron });
  $("place").textContent = model.layers[layer].shape.length === 1 ? "" : `at ${indexText(model.layers[layer], neuron)}`;
  $("no-errors").hidden = model.loss !== null || layer === 0 || live;
  $("traces").hidden = !known;
  if (!known) return;
  const { theta } = model.layers[layer].neurons, before = known.filtered, errors = model.errors(layer, neuron);
  const knownErrors = shownErrors.filter((kind) => errors[kind]);
  traces.forEach((trace, at) => (trace.last = at === knownErrors.length));
  const lines = before ? [["before refraction", before, "faint", [1, 2]]] : [];
  traces[0].set([...lines, ["u", known.potential, "blue", []]], model.times(layer, neuron), theta,
    `Potential u${before ? ", dotted before refraction," : ""} and theta, dashed`);
  shownErrors.forEach((kind, at) => {
    const values = errors[kind], trace = traces[at + 1];
    const name = `error on the ${kind === "weighted" ? "weighted input" : kind}`;
    trace.figure.hidden = !values;
    if (values) trace.set([[name, values, "red", []]], [], null, name[0].toUpperCase() + name.slice(1));
  });
}

function showTime() {
  const step = time();
  $("time").value = step;
  $("time").ariaValueText = `${model.ms(step)} ms`;
  $("clock").textContent = `time ${model.ms(step)} ms`;
  for (const plot of overTime) plot.show();
  if (hasFrames) paintEvents($("frame"), model, step);
  if (live) live.showClasses();
}

// Show the parts of the potential of the chosen neuron at the chosen time, and those of each pixel of a layer below.
function showWhyHere() {
  const { layer } = chosen, why = showWhy(model, $("headline"), $("parts"), chosen, choose);
  const source = why && why.contributions.length ? framedSource(model, layer, why) : null;
  $("map-figure").hidden = source === null;
  if (source === null) return;
  paintContributions($("map"), model, source, why);
  const from = source === layer - 1 ? "the layer below" : model.layers[source].name;
  $("map-caption").textContent = `what each pixel of ${from} adds to u: red drives, blue holds back`;
}

// Move to the spike of the chosen neuron before or after the chosen time.
function moveToSpike(direction) {
  const times = [...model.times(chosen.layer, chosen.neuron)], after = (t) => direction * (t - chosen.time) > 0;
  const step = direction > 0 ? times.find(after) : times.findLast(after);
  if (step !== undefined) choose(chosen.layer, chosen.neuron, step);
}

// Show other spikes, with a neuron and a step.
function showRun(layer, neuron, step) {
  Object.assign(chosen, { layer, neuron, time: step });
  $("time").max = model.steps - 1;
  if (readOut) {
    const { readout, steps, output: { classes } } = model, { winner } = live.outcome;
    const order = [...Array(classes).keys()].sort((a, b) => (a === winner) - (b === winner));
    readOut.set(order.map((at) => [model.className(at), Float64Array.from(readout.subarray(at * steps, (at + 1) * steps)),
      at === winner ? "red" : "faint", []]), [], null, "Read-out of each class");
  }
  if (answers) answers.set(live.outcome, live.sample?.steps_labels ?? []);
  view.reset();
  showNeuron();
  choose(layer, neuron, step);
}

function showSample(sample) {
  model.choose(sample);
  const layer = model.layers.length - 1, neuron = model.busiest(layer);
  showRun(layer, neuron, model.times(layer, neuron)[0] ?? model.steps - 1);
}

// Return what the page is about, as text.
function facts() {
  const { steps, dt, nodes, loss } = model, most = live?.samples.some((sample) => sample.steps < steps) ? "up to " : "";
  const time = `${most}${steps} steps of ${short(dt)} ms`;
  const weights = nodes.reduce((sum, { weight }) => sum + (weight ? numbers(weight).length : 0), 0);
  const network = `A spiking network of ${weights.toLocaleString("en")} weights`;
  if (live) return `${network}, run in this page on ${time}: ${live.draw ? "what you draw stays here" : "nothing leaves it"}.`;
  const samples = input.spikes.length, plural = samples > 1 ? "s" : "";
  return `${samples} sample${plural} · ${time}${loss === null ? "" : ` · loss ${short(loss)}`}`;
}

function start() {
  const samples = live ? 1 : input.spikes.length, colors = input.shape[2] === 2 ? "; OFF blue, ON red" : "";
  $("facts").textContent = facts();
  $("frame-caption").textContent = `input: events of the last ${short(model.frame)} ms${colors}`;
  $("sample-field").hidden = samples === 1;
  $("sample").append(...Array.from({ length: samples }, (_, n) => element("option", { value: n, textContent: n })));
  $("layer").append(...model.layers.map(({ name }, n) => element("option", { value: n, textContent: name })));
  $("time").max = model.steps - 1;
  $("frame-figure").hidden = !hasFrames;
  $("rasters").append(...overTime.map(({ figure }) => figure));
  $("traces").append(...traces.map(({ figure }) => figure));
  $("controls").onsubmit = () => false;
  $("sample").onchange = () => showSample(Number($("sample").value));
  $("time").oninput = () => moveTo(Number($("time").value));
  $("layer").onchange = () => choose(Number($("layer").value), 0, chosen.time);
  $("neuron").onchange = () => {
    const neuron = limit(Math.round(Number($("neuron").value)), 0, model.neurons(chosen.layer) - 1);
    $("neuron").value = neuron;
    choose(chosen.layer, neuron, chosen.time);
  };
  $("previous").onclick = () => moveToSpike(-1);
  $("next").onclick = () => moveToSpike(1);
  const around = (share) => () => {
    const half = ((view.range[1] - view.range[0]) * share) / 2;
    view.zoom([time() - half, time() + half]);
  };
  $("zoom-in").onclick = around(0.5);
  $("zoom-out").onclick = around(2);
  $("whole").onclick = () => view.reset();
  document.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const modified = event.ctrlKey || event.altKey || event.metaKey;
    if (!direction || modified || event.target.matches("select, input[type=number]")) return;
    event.preventDefault();
    moveTo(time() + direction * (event.shiftKey ? 10 : 1));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    view.draw();
    choose(chosen.layer, chosen.neuron, chosen.time);
  });
  if (live) live.start();
  else showSample(0);
  performance.mark("drawn");
}

start();
