// Long work in short slices: a generator runs until a slice is over, then the page draws and listens.
"use strict";

const SLICE = 12; // ms

class Task {
  // Start a generator; `done` is called with its result, unless the task is stopped before.
  constructor(work, done) {
    Object.assign(this, { work, done, stopped: false });
    // A message comes back sooner than a timer of 0 ms.
    this.channel = new MessageChannel();
    this.channel.port1.onmessage = () => this.slice();
    this.slice();
  }

  slice() {
    if (this.stopped) return;
    const end = performance.now() + SLICE;
    for (let step = this.work.next(); ; step = this.work.next()) {
      if (step.done) return this.finish(step.value);
      if (performance.now() > end) break;
    }
    this.channel.port2.postMessage(null);
  }

  finish(result) {
    this.stop();
    this.done(result);
  }

  stop() {
    this.stopped = true;
    this.channel.port1.close();
  }
}
