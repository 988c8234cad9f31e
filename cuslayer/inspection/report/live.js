// The part of a page that runs the network: drawings and recordings are answered.
"use strict";

const SLICE = 12; // ms of work after which the page draws and listens
const SPEEDS = [0.02, 0.1, 0.25, 1]; // of real time
const SMALL = [96, 36]; // pixels of the picture of a recording that has no frames

// The time of the page in steps: it runs, pauses and is moved by hand. `show` is called whenever the step changes,
// `running` with whether time runs.
class Player {
  constructor(end, dt, show, running) {
    Object.assign(this, { end, dt, show, running, step: end, speed: 0.1, playing: false });
  }

  move(step) {
    this.exact = limit(step, 0, this.end);
    this.step = Math.floor(this.exact);
    this.show();
  }

  // Run on, from the start if time is at the end, or pause.
  play(on = !this.playing) {
    cancelAnimationFrame(this.frame);
    if (on) {
      if (this.step >= this.end) this.move(0);
      let last = performance.now();
      const frame = (now) => {
        this.move(this.exact + (Math.max(0, now - last) * this.speed) / this.dt);
        last = now;
        if (this.step >= this.end) this.play(false);
        else this.frame = requestAnimationFrame(frame);
      };
      this.frame = requestAnimationFrame(frame);
    }
    this.playing = on;
    this.running(on);
  }
}

// The pad: strokes of a mouse, a finger or a pen, of the chosen ink. `changed` is called with the strokes after each.
class Pad {
  constructor(node, draw, changed) {
    Object.assign(this, { node, shape: draw.size, pen: penOf(draw), strokes: [], current: null, picture: null });
    Object.assign(this, { inks: inksOf(draw.inks), ink: 0 });
    node.style.aspectRatio = `${draw.size[1]} / ${draw.size[0]}`;
    const place = ({ clientX, clientY }, box = node.getBoundingClientRect()) =>
      [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
    node.onpointerdown = (event) => {
      if (event.button !== 0 || this.current) return;
      event.preventDefault();
      node.setPointerCapture(event.pointerId);
      const stroke = Object.assign([place(event)], { ink: this.ink });
      Object.assign(this, { pointer: event.pointerId, picture: null, current: stroke });
      this.strokes.push(stroke);
      this.draw();
    };
    node.onpointermove = (event) => {
      if (!this.current || event.pointerId !== this.pointer) return;
      const passed = event.getCoalescedEvents?.() ?? [];
      this.current.push(...(passed.length ? passed : [event]).map((each) => place(each)));
      this.draw();
    };
    node.onpointerup = node.onpointercancel = (event) => {
      if (!this.current || event.pointerId !== this.pointer) return;
      this.current = null;
      changed(this.strokes);
    };
  }

  // Remove the strokes, and show pixels in their place; the next stroke starts anew.
  show(pixel) {
    Object.assign(this, { strokes: [], current: null, picture: element("canvas") });
    paint(this.picture, this.shape, pixel);
    this.draw();
  }

  draw() {
    const { node, shape: [rows, columns] } = this, wide = Math.round(node.clientWidth * pixelRatio()) || 1;
    const high = Math.round((wide * rows) / columns), context = node.getContext("2d");
    Object.assign(node, { width: wide, height: high });
    context.imageSmoothingEnabled = rows < 12;
    if (this.picture) context.drawImage(this.picture, 0, 0, wide, high);
    Object.assign(context, { lineWidth: this.pen * Math.min(wide, high), lineCap: "round", lineJoin: "round" });
    for (const stroke of this.strokes) {
      context.strokeStyle = `rgb(${this.inks[stroke.ink]})`;
      context.beginPath();
      // A line to the first point draws a dot for a stroke of one point.
      for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * wide, y * high);
      context.stroke();
    }
  }
}

// The pixels of a drawing as buttons: what the network sees, and how to draw with the keyboard, with the chosen ink.
// `changed` is called after a key or a click changed a pixel.
class Pixels {
  constructor(node, { size, inks, brightest }, changed) {
    const [rows, columns] = size;
    Object.assign(this, { rows, columns, count: inks, brightest, changed, ink: 0 });
    this.buttons = Array.from({ length: rows * columns }, (_, at) => element("button", {
      type: "button", role: "gridcell", tabIndex: at ? -1 : 0, onkeydown: (event) => this.pressed(at, event),
      onclick: () => this.paint(at, this.value(at) ? 0 : brightest) }));
    const line = (row) => element("div", { role: "row" }, ...this.buttons.slice(row * columns, (row + 1) * columns));
    node.append(...Array.from({ length: rows }, (_, row) => line(row)));
    node.style.aspectRatio = `${columns} / ${rows}`;
    this.set(new Uint8Array(rows * columns * inks));
  }

  value(at) {
    return this.values[at * this.count + this.ink];
  }

  // Return the color and the opacity of a pixel, 0 to 255.
  color(at) {
    const [ink, sum] = mixed(this.values.subarray(at * this.count, (at + 1) * this.count), inksOf(this.count));
    return [...ink, Math.min(255, (255 * sum) / this.brightest)];
  }

  // Show values, without calling `changed`.
  set(values) {
    const { columns, brightest } = this;
    this.values = Uint8Array.from(values);
    this.buttons.forEach((button, at) => {
      const [red, green, blue, opacity] = this.color(at), place = `row ${Math.floor(at / columns) + 1}`;
      button.style.background = `rgb(${red} ${green} ${blue} / ${opacity / 255})`;
      button.ariaLabel = `${place}, column ${(at % columns) + 1}: ${this.value(at)} of ${brightest}`;
    });
  }

  paint(at, value) {
    this.values[at * this.count + this.ink] = limit(value, 0, this.brightest);
    this.set(this.values);
    this.changed();
  }

  pressed(at, event) {
    const { rows, columns } = this, row = Math.floor(at / columns), column = at % columns, now = this.value(at);
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const keys = { "+": now + 1, "-": now - 1, Delete: 0, Backspace: 0 };
    const value = /^[0-9]$/.test(event.key) ? Number(event.key) : keys[event.key];
    if (!moves && value === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (value !== undefined) return this.paint(at, value);
    const next = limit(row + moves[0], 0, rows - 1) * columns + limit(column + moves[1], 0, columns - 1);
    this.buttons[at].tabIndex = -1;
    this.buttons[next].tabIndex = 0;
    this.buttons[next].focus();
  }
}

// A page that runs its network. `showRun` is called after a run, `showTime` when the time of the page changes.
class Live {
  constructor(model, showRun, showTime) {
    const { draw, digits } = model;
    Object.assign(this, { model, draw, showRun, task: null, outcome: null, shown: 0, most: model.steps, sample: null });
    this.lessons = 0;
    this.samples = digits ? this.pictures(numbers(digits.images), numbers(digits.labels)) : model.recordings;
    for (const sample of this.samples) if (sample.labels) sample.steps_labels = [...numbers(sample.labels)];
    this.player = new Player(model.steps - 1, model.dt, showTime, (runs) =>
      Object.assign($("play"), { textContent: runs ? "Pause" : "Play", ariaLabel: runs ? "Pause" : "Play" }));
    if (!draw) return;
    this.pad = new Pad($("pad"), draw, (strokes) => {
      this.pixels.set(pixelsOf(draw, strokes));
      this.press(null);
      this.recognize({ image: this.pixels.values });
    });
    this.pixels = new Pixels($("pixels"), draw, () => this.take({ image: this.pixels.values }));
  }

  // Return the pictures of the data set of digits as samples.
  pictures(images, labels) {
    const size = count(this.draw.size);
    return [...labels].map((label, at) =>
      ({ label, title: `test digit ${at}`, image: images.subarray(at * size, (at + 1) * size) }));
  }

  // Return what the network sees of a sample: spikes, or numbers with the weighted input of the first neurons.
  *seen({ image, spikes, weighted }, steps) {
    const { model, draw } = this;
    if (!image) return [spikesAt(trains(spikes), steps), weighted && numbers(weighted)];
    if (!draw.camera) return [yield* poisson(draw, model.layers[0].shape, image, steps), null];
    return [yield* recorded(draw.camera, image, steps, model.dt), null];
  }

  // Do the work of a generator in slices; return {value}, what it returns, or null if later work overtakes.
  async work(generator) {
    const task = (this.task = {});
    this.player.play(false);
    for (let end = performance.now() + SLICE; ; ) {
      const { done, value } = generator.next();
      if (done) return { value };
      if (performance.now() < end) continue;
      await new Promise((resume) => setTimeout(resume));
      if (this.task !== task) return null;
      end = performance.now() + SLICE;
    }
  }

  // Return the work of a run of the network on a sample.
  *run(sample, steps) {
    const [fired, given] = yield* this.seen(sample, steps);
    this.again = () => simulate(this.model, fired, steps, given);
    this.given = given;
    yield* this.again();
  }

  // Run the network on a sample; show the answer unless later work overtakes.
  async recognize(sample) {
    const start = performance.now(), done = await this.work(this.run(sample, sample.steps ?? this.most));
    if (!done) return;
    this.show(sample);
    $("truth").value = sample.label ?? Math.max(0, this.outcome.winner);
    this.showLessons();
    $("speed-of-answer").textContent = `answered in ${Math.round(performance.now() - start)} ms`;
    performance.mark("answer");
  }

  // Teach the network what the shown sample is.
  async teach() {
    const { model, sample, again, given } = this, target = Number($("truth").value);
    $("lesson").textContent = "Learning …";
    const done = await this.work(lesson(model, learners(model, given), target, again));
    if (!done) return;
    const { steps, right } = done.value, name = model.className(target);
    this.lessons += Number(steps > 0);
    this.show(sample);
    this.showLessons(steps === 0 ? `It says ${name} already.`
      : right ? `Learned: it is ${name}.` : `Not yet ${name}: another lesson goes on from here.`);
    performance.mark("lesson");
  }

  // Bring back the weights from before all lessons.
  async forget() {
    forget(this.model);
    this.lessons = 0;
    if (this.sample) await this.recognize(this.sample);
    else this.showLessons();
  }

  // Show what lessons have changed, after a text about the last one.
  showLessons(text = "") {
    const { model, lessons } = this, of = learners(model, this.given);
    $("learn").disabled = !this.sample || !of.length;
    $("forget").disabled = !lessons;
    $("changes").hidden = !lessons;
    $("lesson").textContent = lessons ? `${text} Lessons so far: ${lessons}.`.trim() : text;
    if (!lessons) return;
    const { node } = of[0], { shape } = model.layers[0];
    const changes = of.map((learner) => changesOf(learner.node)), most = Math.max(...changes.map(({ share }) => share));
    $("changed").replaceChildren(...changes.map(({ count: changed, share }, at) => {
      const { layer, node: { weight } } = of[at], all = numbers(weight).length.toLocaleString("en");
      const text = `${model.layers[layer].name}: ${changed.toLocaleString("en")} of ${all} weights, by ${short(100 * share)} %`;
      const bar = element("i");
      bar.style.width = `${(100 * share) / (most || 1)}%`;
      return element("div", { role: "listitem" }, element("span", {}, text), element("div", { className: "bar" }, bar));
    }));
    $("change-figure").hidden = shape.length !== 3 || node.kind !== "dense" || of[0].layer !== 1;
    if (!$("change-figure").hidden) paintChanges($("change"), node, shape);
  }

  // Show an image on the pad and in the pixels; null for none.
  picture(image) {
    if (!this.draw) return;
    this.pixels.set(image ?? new Uint8Array(this.pixels.values.length));
    this.pad.show((at) => this.pixels.color(at));
  }

  // Run the network on a sample: an image, which is shown, or a recording.
  take(sample, button = null) {
    this.picture(sample.image);
    this.press(button);
    return this.recognize(sample);
  }

  // Mark one of the buttons of samples as the source of what is shown.
  press(button) {
    for (const each of document.querySelectorAll("[aria-pressed]")) each.ariaPressed = String(each === button);
  }

  show(sample) {
    const { model, player } = this, last = model.layers.length - 1, { winner } = (this.outcome = decide(model));
    this.sample = sample;
    const neuron = !model.readout && model.output.classes === model.neurons(last) ? Math.max(0, winner) : model.busiest(last);
    Object.assign(player, { end: model.steps - 1, step: Math.min(player.step, model.steps - 1) });
    this.showRun(last, neuron, model.times(last, neuron)[0] ?? 0);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    player.move(still ? model.steps - 1 : 0);
    if (model.spikes(0).times.length && !still) player.play(true);
  }

  // Show the winner, and in words what it is about.
  showAnswer() {
    const { model, outcome: { winner, time: when, leaders }, sample } = this, labels = sample?.steps_labels;
    const now = this.player.step, shown = labels ? leaders[now] : winner, name = shown < 0 ? "–" : model.className(shown);
    Object.assign($("winner"), { textContent: name, className: name.length > 5 ? "long" : name.length > 1 ? "wide" : "" });
    if (labels) {
      const right = labels.filter((label, t) => t <= now && label === leaders[t]).length;
      const counted = labels.filter((label, t) => t <= now && label >= 0).length || 1;
      $("verdict").textContent = `At ${model.ms(now)} ms the answer is ${name}, labelled ` +
        `${model.className(labels[now])}; so far ${Math.round((100 * right) / counted)} % are right.`;
      return;
    }
    const label = sample?.label ?? null, true_class = label === null ? "" : ` The true class is ${model.className(label)}.`;
    $("verdict").textContent = shown < 0 ? `No output ${model.output.simulation ? "is" : "neuron fired"}.${true_class}`
      : `The answer is ${name}, decided at ${model.ms(when)} ms.${true_class}`;
  }

  // Return the scores of the classes at a step, of a read-out as probabilities, as `confidence` has them.
  scores(step) {
    const { classes, simulation } = this.model.output;
    const found = [...this.outcome.scores.subarray(step * classes, (step + 1) * classes)], most = Math.max(...found);
    if (!simulation) return found;
    const shares = found.map((score) => Math.exp(score - most)), sum = shares.reduce((a, share) => a + share, 0);
    return shares.map((share) => share / sum);
  }

  // Show the scores of the classes at the time of the page.
  showClasses() {
    const { model, player } = this, { simulation } = model.output;
    const now = this.scores(player.step), all = this.scores(model.steps - 1), most = simulation ? 1 : Math.max(...all, 1);
    const said = (score) => (simulation ? `${Math.round(100 * score)} %` : short(score));
    const leader = this.sample?.steps_labels ? this.outcome.leaders[player.step] : this.outcome.winner;
    [...$("classes").children].forEach((row, at) => {
      row.className = at === leader ? "won" : "";
      row.querySelector(".now").style.width = `${(100 * now[at]) / most}%`;
      row.querySelector(".total").style.width = `${(100 * all[at]) / most}%`;
      row.lastElementChild.textContent = said(now[at]);
      const of = simulation ? `${said(now[at])}, at the end ${said(all[at])}` : `${said(now[at])} of ${said(all[at])} spikes`;
      row.ariaLabel = `class ${model.className(at)}: ${of}`;
    });
    if (this.sample || this.outcome.winner >= 0) this.showAnswer();
  }

  // Paint a small picture of a sample: an image, or its spikes as a frame or as a raster.
  thumbnail(node, { image, spikes, steps }) {
    const { draw, model } = this, { shape } = model.layers[0];
    if (image) {
      const inks = inksOf(draw.inks), { size, brightest } = draw;
      return paint(node, size, (i) => [...mixed([image[i]], inks)[0], (255 * image[i]) / brightest]);
    }
    const { starts, times, values } = trains(spikes), framed = shape.length === 3;
    const channels = framed ? shape[2] : 1, [wide, high] = framed ? [shape[1], shape[0]]
      : [Math.min(SMALL[0], steps), SMALL[1]];
    const sums = new Float64Array(wide * high * channels), neurons = model.neurons(0);
    for (let n = 0; n < neurons; n++) {
      for (let i = starts[n]; i < starts[n + 1]; i++) {
        const row = high - 1 - Math.floor((n * high) / neurons), value = values ? Math.abs(values[i]) : 1;
        const at = framed ? n : row * wide + Math.floor((times[i] * wide) / steps);
        sums[at] += value;
        // A row of a few inputs is several pixels high.
        if (!framed) for (let more = 1; more < Math.floor(high / neurons); more++) sums[at - more * wide] = sums[at];
      }
    }
    const inks = inksOf(channels), most = sums.reduce((a, sum) => Math.max(a, sum), 1e-9);
    paint(node, [high, wide], (i) => {
      const [ink, sum] = mixed(sums.subarray(i * channels, (i + 1) * channels), inks);
      return [...ink, 255 * Math.min(1, Math.sqrt(sum / most))];
    });
  }

  // Show samples as buttons: of each class one, other ones after a click on "Other examples"; all without classes.
  showSamples() {
    const { samples, model } = this, labels = [...new Set(samples.map(({ label }) => label))].sort((a, b) => a - b);
    const groups = labels.includes(null) ? samples.map((sample) => [sample])
      : labels.map((label) => samples.filter((sample) => sample.label === label));
    $("more").parentNode.hidden = groups.every((group) => group.length < 2);
    $("examples").replaceChildren(...groups.map((group) => {
      const sample = group[this.shown % group.length], { label, title, image } = sample;
      const name = label === null ? title : model.className(label);
      const about = { type: "button", title, ariaPressed: "false", ariaLabel: label === null ? title : `${name}, ${title}` };
      const button = element("button", about, element("canvas"), ...(image ? [] : [element("span", {}, name)]));
      button.onclick = () => this.take(sample, button);
      this.thumbnail(button.firstChild, sample);
      return button;
    }));
  }

  // Show a page without a sample, in which nothing fired.
  reset() {
    const { model } = this;
    this.task = null;
    this.player.play(false);
    this.picture(null);
    this.press(null);
    model.layers.forEach((layer, at) => Object.assign(layer, { potentials: null,
      spikes: [{ starts: new Uint32Array(model.neurons(at) + 1), times: { array: new Uint32Array(0) } }] }));
    Object.assign(model, { steps: this.most, readout: model.output.simulation && new Float32Array(model.output.classes * this.most) });
    model.choose(0);
    this.show(null);
    Object.assign($("winner"), { textContent: "?", className: "" });
    const asked = [this.draw && this.asked(), this.samples.length && "choose a recording"].filter(Boolean);
    $("verdict").textContent = `${(this.draw?.first ? asked : asked.reverse()).join(", or ")}.`
      .replace(/^c/, "C").replace(", or D", ", or d");
    $("speed-of-answer").textContent = "";
    this.showLessons();
  }

  // Return what the page asks to be drawn.
  asked() {
    const { digits, output: { names, classes } } = this.model;
    if (digits) return "Draw a digit";
    return `Draw ${names ? `one of ${names.join(", ")}` : `one of the ${classes} classes, 0 to ${classes - 1}`}`;
  }

  start() {
    const { model, player, draw, samples } = this, about = (at) => element("span", {}, model.className(at));
    const row = (at) => element("div", { role: "listitem" }, about(at),
      element("div", { className: "bar" }, element("i", { className: "total" }), element("i", { className: "now" })),
      element("span"));
    for (const id of ["draw", "answer-part", "play", "speed-field"]) $(id).hidden = false;
    for (const node of document.querySelectorAll(".drawn")) node.hidden = !draw;
    document.body.classList.add("live");
    const first = Boolean(draw?.first);
    $("draw-heading").textContent = first ? this.asked() : "Choose a recording";
    $("examples-heading").textContent = `Or take one of the ${model.digits ? "test set" : "recordings"}`;
    $("examples-heading").hidden = !first || !samples.length;
    $("pad-heading").hidden = first || !draw;
    if (!first) $("pad-part").before($("examples-part"));
    const named = !model.digits && (model.layers[0].shape.length !== 3 || model.output.names);
    $("examples").classList.toggle("named", Boolean(named));
    $("ink-field").hidden = !draw || draw.inks === 1;
    $("ink").append(...Array.from({ length: draw?.inks ?? 0 }, (_, ink) =>
      element("option", { value: ink, textContent: draw.inks === 2 ? ["OFF", "ON"][ink] : `channel ${ink}` })));
    $("ink").onchange = () => {
      this.pad.ink = this.pixels.ink = Number($("ink").value);
      this.pixels.set(this.pixels.values);
    };
    $("views").append($("frame-figure"));
    $("speed").append(...SPEEDS.map((speed) => element("option", { value: speed, textContent: `${speed} ×` })));
    $("speed").value = player.speed;
    $("classes").append(...Array.from({ length: model.output.classes }, (_, at) => row(at)));
    $("classes").classList.toggle("named", Boolean(model.output.names?.some((name) => name.length > 3)));
    $("truth").append(...Array.from({ length: model.output.classes }, (_, at) =>
      element("option", { value: at, textContent: model.className(at) })));
    $("teach").hidden = !learners(model).length;
    $("learn").onclick = () => this.teach();
    $("forget").onclick = () => this.forget();
    $("play").onclick = () => player.play();
    $("speed").onchange = () => (player.speed = Number($("speed").value));
    $("clear").onclick = () => this.reset();
    $("more").onclick = () => {
      this.shown += 1;
      this.showSamples();
    };
    if (draw) new ResizeObserver(() => this.pad.draw()).observe(this.pad.node);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      if (draw) {
        this.pad.inks = inksOf(draw.inks);
        this.pixels.set(this.pixels.values);
        if (this.pad.picture) this.pad.show((at) => this.pixels.color(at));
        this.pad.draw();
      }
      this.showSamples();
    });
    this.showSamples();
    this.reset();
    $("examples").firstElementChild?.click();
  }
}
