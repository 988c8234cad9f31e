// Pictures of layers of frames: the events of the input, and the contributions of pixels to a potential.
"use strict";

const OFF = [61, 143, 209], ON = [224, 102, 42]; // visible on white and on black

// Paint a canvas: pixel(i) is [r, g, b, opacity] of the flat index i.
function paint(node, [rows, columns], pixel) {
  Object.assign(node, { width: columns, height: rows });
  const context = node.getContext("2d"), image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) image.data.set(pixel(i), 4 * i);
  context.putImageData(image, 0, 0);
}

// Draw the input events of the last model.frame ms up to a step, that step included.
function paintEvents(node, model, time) {
  const { shape } = model.layers[0], { starts, times } = model.spikes(0), before = time - model.frame / model.dt;
  const channels = shape[2], counts = new Float64Array(model.neurons(0));
  for (let n = 0; n < counts.length; n++) {
    for (let i = starts[n]; i < starts[n + 1]; i++) if (times[i] > before && times[i] <= time) counts[n]++;
  }
  const ink = rgb("ink");
  paint(node, shape, (i) => {
    const here = counts.subarray(i * channels, (i + 1) * channels), sum = here.reduce((a, k) => a + k, 0);
    const opacity = sum && Math.min(255, 110 + 70 * sum);
    if (channels !== 2) return [...ink, opacity];
    return [...OFF.map((shade, at) => Math.round((shade * here[0] + ON[at] * here[1]) / (sum || 1))), opacity];
  });
}

// Return the layer of frames whose contributions to a potential are drawn: of several layers that feed the neuron, the
// one with the largest contribution. It is null without one.
function framedSource(model, layer, why) {
  const framed = why.contributions.find(({ source }) => model.layers[source].shape.length === 3);
  const source = framed ? framed.source : layer - 1;
  return model.layers[source].shape.length === 3 ? source : null;
}

// Draw the contribution of each pixel of a layer to a potential: red excitatory, blue inhibitory.
function paintContributions(node, model, layer, why) {
  const { shape } = model.layers[layer], sums = new Float64Array(shape[0] * shape[1]);
  for (const { source, input, size } of why.contributions) {
    if (source === layer) sums[Math.floor(input / shape[2])] += size;
  }
  const most = sums.reduce((a, x) => Math.max(a, Math.abs(x)), 0) || 1;
  paint(node, shape, (i) => [...(sums[i] > 0 ? ON : OFF), sums[i] && 50 + (205 * Math.abs(sums[i])) / most]);
}
