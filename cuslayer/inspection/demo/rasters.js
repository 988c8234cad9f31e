// Spike rasters of all layers on canvases: spikes up to the time of the page in full color, later ones faint.
"use strict";

const HIGHEST = 150, LOWEST = 44; // heights of a raster, pixels

class Raster {
  // `pick` is called with layer, neuron and step on a click.
  constructor(model, layer, pick) {
    Object.assign(this, { model, layer, pick });
    this.neurons = model.neurons(layer);
    this.caption = element("figcaption");
    this.node = element("canvas", { tabIndex: -1 });
    this.figure = element("figure", {}, this.caption, this.node);
    this.high = Math.max(LOWEST, Math.min(HIGHEST, 6 * this.neurons));
    this.node.style.height = `${this.high}px`;
    follow(this.node, (point) => this.at(point));
  }

  // Draw the spikes of the layer anew, after a run or when the size or the colors of the page change.
  draw() {
    const { model, layer, neurons, node } = this, scale = pixelRatio();
    const wide = Math.max(1, Math.round(node.clientWidth * scale)), high = Math.max(1, Math.round(this.high * scale));
    const { starts, times } = model.spikes(layer), lit = new Uint8Array(wide * high);
    const tall = Math.max(Math.round(scale), Math.floor((0.8 * high) / neurons));
    const long = Math.max(Math.round(1.5 * scale), Math.floor((0.7 * wide) / model.steps));
    for (let n = 0; n < neurons; n++) {
      const top = Math.floor((n * high) / neurons), bottom = Math.min(high, top + tall);
      for (let i = starts[n]; i < starts[n + 1]; i++) {
        const left = Math.floor((times[i] * wide) / model.steps), right = Math.min(wide, left + long);
        for (let y = top; y < bottom; y++) lit.fill(1, y * wide + left, y * wide + right);
      }
    }
    Object.assign(node, { width: wide, height: high });
    this.later = this.colored(lit, wide, high, "faint", 110);
    this.past = this.colored(lit, wide, high, layer === model.layers.length - 1 ? "red" : "blue", 255);
    const rate = (1000 * times.length) / (neurons * model.steps * model.dt);
    const text = `${times.length.toLocaleString("en")} spikes, ${short(rate)} Hz a neuron`;
    this.caption.textContent = `${model.layers[layer].name} · ${model.layers[layer].shape.join(" × ")} · ${text}`;
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", `Spikes of ${this.caption.textContent}. Neurons from top to bottom, time to the right.`);
  }

  colored(lit, wide, high, name, opacity) {
    const made = element("canvas", { width: wide, height: high }), context = made.getContext("2d");
    const image = context.createImageData(wide, high), pixel = [...rgb(name), opacity];
    for (let i = 0; i < lit.length; i++) if (lit[i]) image.data.set(pixel, 4 * i);
    context.putImageData(image, 0, 0);
    return made;
  }

  // Show the time, and mark the chosen neuron and step if they are of this layer.
  show(step, chosen) {
    const { node, model } = this, { width, height } = node, context = node.getContext("2d");
    const at = Math.round(((step + 1) * width) / model.steps);
    context.clearRect(0, 0, width, height);
    context.drawImage(this.later, 0, 0);
    context.clearRect(0, 0, at, height);
    if (at > 0) context.drawImage(this.past, 0, 0, at, height, 0, 0, at, height);
    context.fillStyle = color("ink");
    context.fillRect(Math.min(at, width - 1), 0, 1, height);
    if (!chosen || chosen.layer !== this.layer) return;
    const x = ((chosen.time + 0.5) * width) / model.steps, y = ((chosen.neuron + 0.5) * height) / this.neurons;
    context.strokeStyle = color("ink");
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, 7, 0, 2 * Math.PI);
    context.stroke();
  }

  // Return what the raster has at a point of its canvas, whose border is outside of the drawing.
  at(point) {
    const { model, layer, neurons, node } = this, across = node.clientWidth / model.steps;
    const down = node.clientHeight / neurons, left = node.clientLeft + across / 2, top = node.clientTop + down / 2;
    const found = inRaster(model, layer, point, { left, across, top, down }, [0, model.steps], [0, neurons]);
    return { ...found, go: () => this.pick(layer, found.neuron, found.step) };
  }
}
