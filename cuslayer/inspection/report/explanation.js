// Why a neuron fired or not: a headline, and a table of the parts of its potential.
"use strict";

const MOST = 10; // inputs with a row of their own in the table

class Explanation {
  // `go` is called with layer, neuron and step on a click on an input.
  constructor(model, headline, table, go) {
    Object.assign(this, { model, headline, table, go });
  }

  // Return the last four times as text.
  listed(times) {
    return (times.length > 4 ? "…, " : "") + [...times].slice(-4).map((time) => this.model.ms(time)).join(", ");
  }

  // Show a neuron at a step; return what `model.explain` returns, null where there is no potential to explain.
  show(layer, neuron, time) {
    const { model, headline, table } = this, why = layer > 0 ? model.explain(layer, neuron, time) : null;
    const who = `${model.layers[layer].name}, neuron ${indexText(model.layers[layer], neuron)}`;
    table.hidden = !why;
    if (!why) {
      const times = [...model.times(layer, neuron)];
      headline.textContent = `${who}: ${times.length} spikes${times.length ? ` at ${this.listed(times)} ms` : ""}`;
      return null;
    }
    const side = why.margin < 0 ? "under" : "over", what = why.fired ? "fired" : "silent";
    headline.textContent = `${who} at ${model.ms(time)} ms: ${what}, u = ${short(why.potential)} is ` +
      `${short(Math.abs(why.margin))} ${side} theta = ${short(why.theta)}`;
    this.fill(why, this.parts(layer, why));
    return why;
  }

  // Return the parts of a potential: the largest inputs, all others as one, and refraction.
  parts(layer, { contributions, filtered, refractory, refractorySpikes, potential }) {
    const { model } = this, several = !model.layers[layer].connections;
    const rows = contributions.slice(0, MOST).map(({ source, input, size, times }) => ({
      name: `input ${indexText(model.layers[source], input)}${several ? ` of ${model.layers[source].name}` : ""}`, size,
      times, go: () => this.go(source, input, times[times.length - 1]) }));
    const others = contributions.slice(MOST);
    if (others.length) rows.push({ name: `${others.length} other input${others.length > 1 ? "s" : ""}`,
      size: others.reduce((sum, part) => sum + part.size, 0), times: [] });
    if (!model.feed(layer) || !model.layers[layer].neurons.response) {
      rows.push({ name: "all that comes in", size: filtered ?? potential, times: [] });
    }
    if (refractorySpikes.length) rows.push({ name: "refraction", size: refractory, times: refractorySpikes });
    return rows;
  }

  fill(why, rows) {
    const ends = [0];
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
    this.table.tBodies[0].replaceChildren(
      ...rows.map(({ name, size, times, go }, at) => element("tr", {},
        cell(go ? element("button", { type: "button", title: "show this neuron", onclick: go }, name) : name),
        cell(bar(ends[at], ends[at + 1], size < 0 ? "blue" : "red")), cell(signed(size)), cell(this.listed(times)))),
      element("tr", { className: "total" },
        cell("u"), cell(bar(0, why.potential, "ink")), cell(signed(why.potential)), cell()),
    );
  }
}
