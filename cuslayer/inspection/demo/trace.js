// The potential of one neuron over time, with its threshold and spikes.
"use strict";

const LEFT = 46, BELOW = 22, ABOVE = 10; // pixels around the plot

class Trace {
  // `move` is called with the step of a click.
  constructor(node, model, move) {
    Object.assign(this, { node, model, move });
    follow(node, (point) => this.at(point));
  }

  // Return what the trace has at a point of its canvas.
  at(point) {
    const { model, node, potential, times } = this, across = (node.clientWidth - LEFT) / model.steps;
    const scale = { left: LEFT + across / 2, across, height: (step) => this.height(potential[step]) };
    const found = inTrace(model, point, scale, [0, model.steps], times, [["u", potential]]);
    return found.fired || point.x >= LEFT ? { ...found, go: () => this.move(found.step) } : null;
  }

  // Draw the potential of a neuron and mark a step.
  show(layer, neuron, time) {
    const { node, model } = this, known = layer > 0 ? model.potential(layer, neuron) : null;
    node.hidden = !known;
    if (!known) return;
    const scale = pixelRatio(), wide = node.clientWidth, high = node.clientHeight;
    Object.assign(node, { width: Math.round(wide * scale), height: Math.round(high * scale) });
    const context = node.getContext("2d"), { potential } = known, { theta } = model.layers[layer].neurons;
    context.scale(scale, scale);
    context.font = "12px system-ui, sans-serif";
    const low = potential.reduce((a, u) => Math.min(a, u), 0), top = potential.reduce((a, u) => Math.max(a, u), theta);
    const x = (t) => LEFT + ((t + 0.5) * (wide - LEFT)) / model.steps;
    const y = (u) => ABOVE + ((top - u) * (high - ABOVE - BELOW)) / (top - low || 1);
    Object.assign(this, { potential, times: model.times(layer, neuron), height: y });
    const line = (shade, points, dash = []) => {
      context.strokeStyle = color(shade);
      context.setLineDash(dash);
      context.beginPath();
      for (const [at, u] of points) context.lineTo(at, u);
      context.stroke();
    };
    line("line", [[LEFT, y(0)], [wide, y(0)]]);
    line("faint", [[LEFT, y(theta)], [wide, y(theta)]], [5, 4]);
    line("red", [[x(time), ABOVE], [x(time), high - BELOW]]);
    context.lineWidth = 1.5;
    line("blue", Array.from(potential, (u, t) => [x(t), y(u)]));
    context.fillStyle = color("ink");
    for (const t of this.times) {
      context.beginPath();
      context.arc(x(t), y(potential[t]), 3, 0, 2 * Math.PI);
      context.fill();
    }
    this.label(context, wide, high, { theta: y(theta), 0: y(0) });
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", `Potential u of the neuron over time, from ${short(low)} to ${short(top)}; ` +
      `the threshold theta is ${short(theta)}.`);
  }

  label(context, wide, high, heights) {
    context.fillStyle = color("faint");
    context.textAlign = "right";
    for (const [text, at] of Object.entries(heights)) context.fillText(text, LEFT - 6, at + 4);
    context.textAlign = "left";
    context.fillText("0 ms", LEFT, high - 6);
    context.textAlign = "right";
    context.fillText(`${this.model.ms(this.model.steps)} ms`, wide, high - 6);
  }
}
