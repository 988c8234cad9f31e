// The part of a page that runs the network: digits are drawn, taken from the test set or recorded, and answered.
"use strict";

const SLICE = 12; // ms of work after which the page draws and listens
const SPEEDS = [0.02, 0.1, 0.25, 1]; // of real time
const PEN = 0.07; // width of the line on the pad, in pads

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

// The pad: strokes of a mouse, a finger or a pen. `changed` is called with the strokes after each.
class Pad {
  constructor(node, changed) {
    Object.assign(this, { node, changed, strokes: [], current: null, picture: null });
    const place = ({ clientX, clientY }, box = node.getBoundingClientRect()) =>
      [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
    node.onpointerdown = (event) => {
      if (event.button !== 0 || this.current) return;
      event.preventDefault();
      node.setPointerCapture(event.pointerId);
      Object.assign(this, { pointer: event.pointerId, picture: null, current: [place(event)] });
      this.strokes.push(this.current);
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
      this.changed(this.strokes);
    };
  }

  // Remove the strokes, and show pixels in their place; the next stroke starts anew.
  show(pixels, size, brightest) {
    Object.assign(this, { strokes: [], current: null, picture: element("canvas") });
    paint(this.picture, [size, size], (i) => [...rgb("ink"), (255 * pixels[i]) / brightest]);
    this.draw();
  }

  draw() {
    const { node } = this, side = Math.round(node.clientWidth * pixelRatio()) || 1;
    Object.assign(node, { width: side, height: side });
    const context = node.getContext("2d");
    if (this.picture) context.drawImage(this.picture, 0, 0, side, side);
    Object.assign(context, { lineWidth: PEN * side, lineCap: "round", lineJoin: "round", strokeStyle: color("ink") });
    for (const stroke of this.strokes) {
      context.beginPath();
      // A line to the first point draws a dot for a stroke of one point.
      for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * side, y * side);
      context.stroke();
    }
  }
}

// The pixels of the digit as buttons: what the camera sees, and how to draw with the keyboard. `changed` is called
// after a key or a click changed a pixel.
class Pixels {
  constructor(node, size, brightest, changed) {
    Object.assign(this, { size, brightest, changed });
    this.buttons = Array.from({ length: size * size }, (_, at) => element("button", {
      type: "button", role: "gridcell", tabIndex: at ? -1 : 0, onkeydown: (event) => this.pressed(at, event),
      onclick: () => this.paint(at, this.values[at] ? 0 : brightest) }));
    const line = (row) => element("div", { role: "row" }, ...this.buttons.slice(row * size, (row + 1) * size));
    node.append(...Array.from({ length: size }, (_, row) => line(row)));
    this.set(new Uint8Array(size * size));
  }

  // Show values, without calling `changed`.
  set(values) {
    const { size, brightest } = this;
    this.values = Uint8Array.from(values);
    this.buttons.forEach((button, at) => {
      button.style.setProperty("--ink-share", values[at] / brightest);
      button.ariaLabel = `row ${Math.floor(at / size) + 1}, column ${(at % size) + 1}: ${values[at]} of ${brightest}`;
    });
  }

  paint(at, value) {
    this.values[at] = limit(value, 0, this.brightest);
    this.set(this.values);
    this.changed();
  }

  pressed(at, event) {
    const { size, values } = this, row = Math.floor(at / size), column = at % size;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const keys = { "+": values[at] + 1, "-": values[at] - 1, Delete: 0, Backspace: 0 };
    const value = /^[0-9]$/.test(event.key) ? Number(event.key) : keys[event.key];
    if (!moves && value === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (value !== undefined) return this.paint(at, value);
    const next = limit(row + moves[0], 0, size - 1) * size + limit(column + moves[1], 0, size - 1);
    this.buttons[at].tabIndex = -1;
    this.buttons[next].tabIndex = 0;
    this.buttons[next].focus();
  }
}

// A page that runs its network. `showRun` is called after a run, `showTime` when the time of the page changes.
class Live {
  constructor(model, showRun, showTime) {
    const { size, brightest } = model.camera;
    Object.assign(this, { model, size, brightest, showRun, task: null, outcome: null, examples: 0 });
    this.player = new Player(model.steps - 1, model.dt, showTime, (runs) =>
      Object.assign($("play"), { textContent: runs ? "Pause" : "Play", ariaLabel: runs ? "Pause" : "Play" }));
    this.pad = new Pad($("pad"), (strokes) => {
      this.pixels.set(pixelsOf(strokes));
      this.press(null);
      this.recognize(this.seen());
    });
    this.pixels = new Pixels($("pixels"), size, brightest, () => this.take(this.pixels.values, null));
  }

  // What the network sees of the pixels.
  seen() {
    return recorded(this.model.camera, this.pixels.values, this.model.steps, this.model.dt);
  }

  // Run the network on the spikes that a generator returns, in slices; show the answer unless a later run overtakes.
  async recognize(source, label = null) {
    const task = (this.task = {}), start = performance.now(), { model } = this;
    this.player.play(false);
    const work = (function* () {
      yield* simulate(model, yield* source);
    })();
    for (let end = start + SLICE; !work.next().done; ) {
      if (performance.now() < end) continue;
      await new Promise((resume) => setTimeout(resume));
      if (this.task !== task) return;
      end = performance.now() + SLICE;
    }
    this.show(label);
    $("speed-of-answer").textContent = `answered in ${Math.round(performance.now() - start)} ms`;
    performance.mark("answer");
  }

  // Show an image on the pad and in the pixels.
  picture(image) {
    this.pixels.set(image);
    this.pad.show(image, this.size, this.brightest);
    this.press(null);
  }

  // Show an image, and run the network on it.
  take(image, label) {
    this.picture(image);
    return this.recognize(this.seen(), label);
  }

  // Mark one of the buttons of examples and recordings as the source of the picture.
  press(button) {
    for (const each of document.querySelectorAll("[aria-pressed]")) each.ariaPressed = String(each === button);
  }

  show(label) {
    const { model, player } = this, { winner, time: when } = (this.outcome = decide(model));
    const true_class = label === null ? "" : ` The true class is ${label}.`, last = model.layers.length - 1;
    Object.assign($("winner"), { textContent: winner < 0 ? "–" : winner, className: winner > 9 ? "wide" : "" });
    $("verdict").textContent = winner < 0 ? `No output neuron fired.${true_class}`
      : `The answer is ${winner}, decided at ${model.ms(when)} ms.${true_class}`;
    const first = Math.max(0, model.spikes(last).starts.findIndex((start) => start > 0) - 1);
    const neuron = model.output.classes === model.neurons(last) ? Math.max(0, winner) : first;
    this.showRun(last, neuron, model.times(last, neuron)[0] ?? 0);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    player.move(still ? model.steps - 1 : 0);
    if (model.spikes(0).times.length && !still) player.play(true);
  }

  // Show the counts of the classes at the time of the page.
  showClasses() {
    const now = countsOf(this.model, this.player.step), { counts, winner } = this.outcome;
    const most = Math.max(...counts, 1);
    [...$("classes").children].forEach((row, at) => {
      row.className = at === winner ? "won" : "";
      row.querySelector(".now").style.width = `${(100 * now[at]) / most}%`;
      row.querySelector(".total").style.width = `${(100 * counts[at]) / most}%`;
      row.lastElementChild.textContent = short(now[at]);
      row.ariaLabel = `class ${at}: ${short(now[at])} of ${short(counts[at])} spikes`;
    });
  }

  showExamples() {
    const { size, brightest } = this, { digits } = this.model;
    const labels = numbers(digits.labels), images = numbers(digits.images);
    $("examples").replaceChildren(...[...new Set(labels)].sort((a, b) => a - b).map((label) => {
      const all = [...labels.keys()].filter((at) => labels[at] === label), at = all[this.examples % all.length];
      const image = images.subarray(at * size * size, (at + 1) * size * size), title = `test digit ${at}`;
      const about = { type: "button", title, ariaPressed: "false", ariaLabel: `a ${label}, ${title}` };
      const button = element("button", about, element("canvas"));
      button.onclick = () => {
        this.take(image, label);
        this.press(button);
      };
      paint(button.firstChild, [size, size], (i) => [...rgb("ink"), (255 * image[i]) / brightest]);
      return button;
    }));
  }

  showRecordings() {
    const { model } = this;
    $("recordings-part").hidden = !model.recordings.length;
    $("recordings").replaceChildren(...model.recordings.map(({ label, spikes }, at) => {
      const text = `recording ${at}${label === null ? "" : `, class ${label}`}`;
      const button = element("button", { type: "button", ariaPressed: "false" }, text);
      button.onclick = () => {
        this.picture(new Uint8Array(this.size ** 2));
        this.press(button);
        this.recognize((function* () {
          return spikesAt(trains(spikes), model.steps);
        })(), label);
      };
      return button;
    }));
  }

  // Show a page without a digit, in which nothing fired.
  reset() {
    const { model } = this;
    this.task = null;
    this.player.play(false);
    this.picture(new Uint8Array(this.size ** 2));
    model.layers.forEach((layer, at) => Object.assign(layer, { potentials: null,
      spikes: [{ starts: new Uint32Array(model.neurons(at) + 1), times: { array: new Uint32Array(0) } }] }));
    model.choose(0);
    this.show(null);
    $("winner").textContent = "?";
    $("verdict").textContent = "Draw a digit on the pad, or choose an example.";
    $("speed-of-answer").textContent = "";
  }

  start() {
    const { model, player } = this, row = (at) => element("div", { role: "listitem" }, element("span", {}, String(at)),
      element("div", { className: "bar" }, element("i", { className: "total" }), element("i", { className: "now" })),
      element("span"));
    for (const id of ["draw", "answer-part", "play", "speed-field"]) $(id).hidden = false;
    document.body.classList.add("live");
    $("views").append($("frame-figure"));
    $("speed").append(...SPEEDS.map((speed) => element("option", { value: speed, textContent: `${speed} ×` })));
    $("speed").value = player.speed;
    $("classes").append(...Array.from({ length: model.output.classes }, (_, at) => row(at)));
    $("play").onclick = () => player.play();
    $("speed").onchange = () => (player.speed = Number($("speed").value));
    $("clear").onclick = () => this.reset();
    $("more").onclick = () => {
      this.examples += 1;
      this.showExamples();
    };
    new ResizeObserver(() => this.pad.draw()).observe(this.pad.node);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      if (this.pad.picture) this.pad.show(this.pixels.values, this.size, this.brightest);
      this.pad.draw();
      this.showExamples();
    });
    this.showExamples();
    this.showRecordings();
    this.reset();
  }
}
