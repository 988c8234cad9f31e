// The simulated event camera: cuslayer/data/simulated_camera.py, the same operations in the same order.
//
// tests/inspection/test_demo.py compares its events with those of Python.
"use strict";

class Camera {
  // `setup` comes from cuslayer/inspection/demo/contents.py; its arrays are blocks.
  constructor({ shape, canvas, corner, size, brightest, dark, enlarge, path, thresholds }) {
    Object.assign(this, { shape, canvas, corner, size, brightest, dark });
    this.enlarge = numbers(enlarge);
    this.path = numbers(path);
    this.thresholds = numbers(thresholds);
  }

  // Return the canvas for an image of size x size values, 0 to brightest: enlarge image enlarge'.
  draw(image) {
    const { size, enlarge, brightest, canvas, corner } = this, side = enlarge.length / size;
    const rows = new Float64Array(side * size), drawn = new Float64Array(canvas[0] * canvas[1]);
    for (let i = 0; i < side; i++) {
      for (let k = 0; k < size; k++) {
        for (let j = 0; j < size; j++) rows[i * size + j] += enlarge[i * size + k] * (image[k * size + j] / brightest);
      }
    }
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) {
        let sum = 0;
        for (let k = 0; k < size; k++) sum += rows[i * size + k] * enlarge[j * size + k];
        drawn[(i + corner[0]) * canvas[1] + j + corner[1]] = sum;
      }
    }
    return drawn;
  }

  // Return the intensities of the sensor's pixels at a millisecond: bilinear interpolation of the canvas.
  view(drawn, ms, out) {
    const [height, width] = this.shape, across = this.canvas[1], y = this.path[2 * ms], x = this.path[2 * ms + 1];
    const top = Math.trunc(y), left = Math.trunc(x), down = y - top, right = x - left;
    const a = (1 - down) * (1 - right), b = (1 - down) * right, c = down * (1 - right), d = down * right;
    for (let i = 0; i < height; i++) {
      for (let j = 0, at = (top + i) * across + left; j < width; j++, at++) {
        out[i * width + j] = a * drawn[at] + b * drawn[at + 1] + c * drawn[at + across] + d * drawn[at + across + 1];
      }
    }
  }

  // Return the events of an image, sorted by time: [time in us, x, y, polarity]. It yields between milliseconds.
  *record(image) {
    const { dark, thresholds } = this, [height, width] = this.shape, pixels = height * width, events = [];
    const drawn = this.draw(image), level = new Float64Array(pixels);
    // The intensities of the next events: most pixels are compared with them and need no logarithm.
    const low = new Float64Array(pixels), high = new Float64Array(pixels);
    let current = new Float64Array(pixels), previous = new Float64Array(pixels);
    const limits = (n) => {
      low[n] = Math.exp(level[n] - thresholds[2 * n]) - dark;
      high[n] = Math.exp(level[n] + thresholds[2 * n + 1]) - dark;
    };
    this.view(drawn, 0, previous);
    for (let n = 0; n < pixels; n++) {
      level[n] = Math.log(previous[n] + dark);
      limits(n);
    }
    for (let ms = 1; ms < this.path.length / 2; ms++) {
      this.view(drawn, ms, current);
      const found = [];
      for (let n = 0; n < pixels; n++) {
        if (low[n] < current[n] && current[n] < high[n]) continue;
        const start = Math.log(previous[n] + dark), end = Math.log(current[n] + dark);
        const polarity = end > level[n] ? 1 : 0, move = polarity ? thresholds[2 * n + 1] : -thresholds[2 * n];
        while ((end - level[n]) / move >= 1) {
          level[n] += move;
          const part = end !== start ? (level[n] - start) / (end - start) : 0;
          const us = Math.min(Math.max(Math.trunc(1000 * part), 0), 999);
          found.push([1000 * (ms - 1) + us, n % width, Math.floor(n / width), polarity]);
        }
        limits(n);
      }
      for (const event of found.sort((one, other) => one[0] - other[0])) events.push(event);
      [previous, current] = [current, previous];
      yield;
    }
    return events;
  }
}

// Return events in bins of dt ms, as `Events.to_spikes` does: a list of spikes (see simulation.js).
function binned(events, [, width, channels], steps, dt, neurons) {
  const fired = new Uint8Array(steps * neurons);
  for (const [us, x, y, polarity] of events) {
    const step = Math.floor(us / 1000 / dt + 1e-9);
    if (step < steps) fired[step * neurons + (y * width + x) * channels + polarity] = 1;
  }
  return spikeList(fired, steps, neurons);
}
