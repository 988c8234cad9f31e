// The page: a digit is drawn, the camera sees it, the network runs, and the page shows what happened.
"use strict";

const model = new Model(JSON.parse($("contents").textContent));
const camera = new Camera(model.camera);
const decision = new Decision(model, model.output);
const chosen = { layer: model.layers.length - 1, neuron: 0, time: 0 };
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
let task = null, outcome = null, examples = 0;

const player = new Player(model.steps - 1, model.dt, showTime, (runs) => {
  $("play").textContent = runs ? "Pause" : "Play";
  $("play").setAttribute("aria-label", runs ? "Pause" : "Play");
});
const rasters = model.layers.map((_, layer) => new Raster(model, layer, choose));
const trace = new Trace($("trace"), model, (time) => choose(chosen.layer, chosen.neuron, time));
const explanation = new Explanation(model, $("headline"), $("parts"), choose);
const pad = new Pad($("pad"), (strokes) => {
  pixels.set(pixelsOf(strokes));
  press(null);
  recognize(seen(pixels.values));
});
const pixels = new Pixels($("pixels"), camera.size, camera.brightest, () => take(pixels.values, null));

// What the network sees of an image: the events of the camera in bins.
function* seen(image) {
  const { shape } = camera, events = yield* camera.record(image);
  return binned(events, shape, model.steps, model.dt, model.neurons(0));
}

// Run the network on the spikes that a generator returns, then show the answer.
function recognize(source, label = null) {
  if (task) task.stop();
  player.pause();
  const start = performance.now();
  const work = function* () {
    yield* simulate(model, yield* source);
  };
  task = new Task(work(), () => {
    showRun(label);
    $("speed-of-answer").textContent = `answered in ${Math.round(performance.now() - start)} ms`;
    performance.mark("answer");
  });
}

// Show an image on the pad and in the pixels, and run the network on it.
function take(image, label) {
  pixels.set(image);
  pad.show(image, camera.size, camera.brightest);
  press(null);
  recognize(seen(pixels.values), label);
}

// Mark one of the buttons of examples and recordings as the source of the picture.
function press(button) {
  for (const each of document.querySelectorAll("[aria-pressed]")) each.setAttribute("aria-pressed", each === button);
}

function showRun(label) {
  outcome = decision.final();
  const { winner, time } = outcome, known = label === null ? "" : ` The true class is ${label}.`;
  $("winner").textContent = winner < 0 ? "–" : winner;
  $("winner").className = winner > 9 ? "wide" : "";
  $("verdict").textContent = winner < 0 ? `No output neuron fired.${known}`
    : `The answer is ${winner}, decided at ${model.ms(time)} ms.${known}`;
  rasters.forEach((raster) => raster.draw());
  const last = model.layers.length - 1, spikes = model.spikes(last);
  const first = Math.max(0, spikes.starts.findIndex((start) => start > 0) - 1);
  const neuron = model.output.classes === model.neurons(last) ? Math.max(0, winner) : first;
  choose(last, neuron, model.times(last, neuron)[0] ?? 0);
  player.move(stillness.matches ? model.steps - 1 : 0);
  if (model.spikes(0).times.length && !stillness.matches) player.play();
}

function showTime(step) {
  $("time").value = step;
  $("time").setAttribute("aria-valuetext", `${model.ms(step)} ms`);
  $("clock").textContent = `${model.ms(step)} ms`;
  rasters.forEach((raster) => raster.show(step, chosen));
  paintEvents($("frame"), model, step);
  showClasses(step);
}

function showClasses(step) {
  const now = decision.counts(step), { counts, winner } = outcome, most = Math.max(...counts, 1);
  [...$("classes").children].forEach((row, at) => {
    row.className = at === winner ? "won" : "";
    row.querySelector(".now").style.width = `${(100 * now[at]) / most}%`;
    row.querySelector(".total").style.width = `${(100 * counts[at]) / most}%`;
    row.lastElementChild.textContent = short(now[at]);
    row.setAttribute("aria-label", `class ${at}: ${short(now[at])} of ${short(counts[at])} spikes`);
  });
}

// Show why a neuron fired, or not, at a step.
function choose(layer, neuron, time) {
  Object.assign(chosen, { layer, neuron, time });
  $("layer").value = layer;
  $("neuron").value = neuron;
  $("neuron").max = model.neurons(layer) - 1;
  const why = explanation.show(layer, neuron, time);
  trace.show(layer, neuron, time);
  rasters.forEach((raster) => raster.show(player.step, chosen));
  const source = why && why.contributions.length ? framedSource(model, layer, why) : null;
  $("map-figure").hidden = source === null;
  if (source !== null) paintContributions($("map"), model, source, why);
}

// Move to the spike of the chosen neuron before or after the chosen time.
function chooseSpike(direction) {
  const times = [...model.times(chosen.layer, chosen.neuron)], after = (t) => direction * (t - chosen.time) > 0;
  const time = direction > 0 ? times.find(after) : times.findLast(after);
  if (time !== undefined) choose(chosen.layer, chosen.neuron, time);
}

function showExamples() {
  const labels = numbers(model.digits.labels), images = numbers(model.digits.images), { size, brightest } = camera;
  const buttons = [...new Set(labels)].sort((a, b) => a - b).map((label) => {
    const all = [...labels.keys()].filter((at) => labels[at] === label), at = all[examples % all.length];
    const image = images.subarray(at * size * size, (at + 1) * size * size);
    const button = element("button", { type: "button", title: `test digit ${at}` }, element("canvas"));
    button.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-label", `a ${label}, test digit ${at}`);
    button.onclick = () => {
      take(image, label);
      press(button);
    };
    paint(button.firstChild, [size, size], (i) => [...rgb("ink"), (255 * image[i]) / brightest]);
    return button;
  });
  $("examples").replaceChildren(...buttons);
}

function showRecordings() {
  $("recordings-part").hidden = !model.recordings.length;
  $("recordings").replaceChildren(...model.recordings.map(({ label, spikes }, at) => {
    const text = `recording ${at}${label === null ? "" : `, class ${label}`}`;
    const button = element("button", { type: "button" }, text), neurons = model.neurons(0);
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => {
      wipe();
      press(button);
      recognize((function* () {
        return byStep(trains(spikes, neurons, model.steps), model.steps, neurons);
      })(), label);
    };
    return button;
  }));
}

// Empty the pad and the pixels.
function wipe() {
  const empty = new Uint8Array(camera.size ** 2);
  pixels.set(empty);
  pad.show(empty, camera.size, camera.brightest);
  press(null);
}

// Show a page without a digit.
function reset() {
  if (task) task.stop();
  player.pause();
  wipe();
  silence(model);
  showRun(null);
  $("winner").textContent = "?";
  $("verdict").textContent = "Draw a digit on the pad, or choose an example.";
  $("speed-of-answer").textContent = "";
}

function redraw() {
  pad.draw();
  rasters.forEach((raster) => raster.draw());
  choose(chosen.layer, chosen.neuron, chosen.time);
  showTime(player.step);
}

function start() {
  const { layers, steps, dt } = model, weights = layers.flatMap(({ connections }) => connections ?? [])
    .reduce((sum, { weight }) => sum + (weight ? numbers(weight).length : 0), 0);
  $("facts").textContent = `A spiking network of ${weights.toLocaleString("en")} weights, run in this page on ` +
    `${steps} steps of ${short(dt)} ms: what you draw stays here.`;
  $("frame-caption").textContent = `events of the camera in the last ${short(model.frame)} ms; OFF blue, ON red`;
  $("rasters").append(...rasters.map(({ figure }) => figure));
  $("time").max = steps - 1;
  $("layer").append(...layers.map(({ name }, n) => element("option", { value: n, textContent: name })));
  $("speed").append(...SPEEDS.map((speed) => element("option", { value: speed, textContent: `${speed} ×` })));
  $("speed").value = player.speed;
  $("classes").append(...Array.from({ length: model.output.classes }, (_, at) => {
    const row = element("div", {}, element("span", {}, String(at)), element("div", { className: "bar" },
      element("i", { className: "total" }), element("i", { className: "now" })), element("span"));
    row.setAttribute("role", "listitem");
    return row;
  }));
  $("play").onclick = () => player.toggle();
  $("speed").onchange = () => (player.speed = Number($("speed").value));
  $("time").oninput = () => {
    player.pause();
    player.move(Number($("time").value));
  };
  $("clear").onclick = reset;
  $("more").onclick = () => {
    examples += 1;
    showExamples();
  };
  $("layer").onchange = () => choose(Number($("layer").value), 0, chosen.time);
  $("neuron").onchange = () => {
    const number = Math.round(Number($("neuron").value)), most = model.neurons(chosen.layer) - 1;
    choose(chosen.layer, Math.max(0, Math.min(most, number)), chosen.time);
  };
  $("previous").onclick = () => chooseSpike(-1);
  $("next").onclick = () => chooseSpike(1);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (pad.picture) pad.show(pixels.values, camera.size, camera.brightest);
    showExamples();
    redraw();
  });
  addEventListener("resize", redraw);
  showExamples();
  showRecordings();
  reset();
}

start();
