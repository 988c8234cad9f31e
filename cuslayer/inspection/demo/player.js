// The time of the page: it runs, pauses and is moved by hand.
"use strict";

const SPEEDS = [0.02, 0.1, 0.25, 1]; // of real time

class Player {
  // `end` is the last step, dt the step in ms. `show` is called with the step whenever it changes, `running` with whether
  // time runs.
  constructor(end, dt, show, running) {
    Object.assign(this, { end, dt, show, running, step: end, speed: 0.1, playing: false });
  }

  // Move to a step.
  move(step) {
    this.exact = Math.max(0, Math.min(this.end, step));
    this.step = Math.floor(this.exact);
    this.show(this.step);
  }

  // Run on, from the start if time is at the end.
  play() {
    if (this.playing) return;
    this.move(this.step >= this.end ? 0 : this.step);
    this.playing = true;
    this.running(true);
    let last = performance.now();
    const frame = (now) => {
      if (!this.playing) return;
      this.move(this.exact + (Math.max(0, now - last) * this.speed) / this.dt);
      last = now;
      if (this.step >= this.end) this.pause();
      else requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  pause() {
    this.playing = false;
    this.running(false);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }
}
