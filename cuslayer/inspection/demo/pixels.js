// The pixels of the digit as buttons: what the camera sees, and how to draw with the keyboard.
"use strict";

class Pixels {
  // `changed` is called after a key or a click changed a pixel.
  constructor(node, size, brightest, changed) {
    Object.assign(this, { node, size, brightest, changed, values: new Uint8Array(size * size) });
    this.buttons = Array.from(this.values, (_, at) => element("button", { type: "button", tabIndex: at ? -1 : 0 }));
    this.buttons.forEach((button, at) => {
      button.setAttribute("role", "gridcell");
      button.onclick = () => this.paint(at, this.values[at] ? 0 : brightest);
      button.onkeydown = (event) => this.pressed(at, event);
    });
    for (let row = 0; row < size; row++) {
      const line = element("div", {}, ...this.buttons.slice(row * size, (row + 1) * size));
      line.setAttribute("role", "row");
      node.append(line);
    }
    this.set(this.values);
  }

  // Show values, without calling `changed`.
  set(values) {
    this.values = Uint8Array.from(values);
    this.buttons.forEach((button, at) => this.show(button, at));
  }

  show(button, at) {
    const { size, brightest, values } = this, row = Math.floor(at / size) + 1, column = (at % size) + 1;
    button.style.setProperty("--ink-share", values[at] / brightest);
    button.setAttribute("aria-label", `row ${row}, column ${column}: ${values[at]} of ${brightest}`);
  }

  paint(at, value) {
    this.values[at] = Math.max(0, Math.min(this.brightest, value));
    this.show(this.buttons[at], at);
    this.changed();
  }

  pressed(at, event) {
    const { size, values, brightest } = this, row = Math.floor(at / size), column = at % size;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const keys = { "+": values[at] + 1, "-": values[at] - 1, Delete: 0, Backspace: 0 };
    const value = /^[0-9]$/.test(event.key) ? Number(event.key) : keys[event.key];
    if (!moves && value === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (value !== undefined) return this.paint(at, Math.min(value, brightest));
    const inside = (n) => Math.max(0, Math.min(size - 1, n));
    const next = inside(row + moves[0]) * size + inside(column + moves[1]);
    this.buttons[at].tabIndex = -1;
    this.buttons[next].tabIndex = 0;
    this.buttons[next].focus();
  }
}
