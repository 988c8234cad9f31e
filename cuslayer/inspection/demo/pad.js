// The pad: strokes of a mouse, a finger or a pen.
"use strict";

const PEN = 0.07; // width of the line on the pad, in pads

class Pad {
  // `changed` is called with the strokes after each.
  constructor(node, changed) {
    Object.assign(this, { node, changed, strokes: [], current: null, picture: null });
    node.onpointerdown = (event) => this.begin(event);
    node.onpointermove = (event) => this.go(event);
    node.onpointerup = node.onpointercancel = (event) => this.end(event);
  }

  point({ clientX, clientY }) {
    const box = this.node.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  }

  begin(event) {
    if (event.button !== 0 || this.current) return;
    event.preventDefault();
    this.node.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.picture = null;
    this.current = [this.point(event)];
    this.strokes.push(this.current);
    this.draw();
  }

  go(event) {
    if (!this.current || event.pointerId !== this.pointer) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) this.current.push(this.point(each));
    this.draw();
  }

  end(event) {
    if (!this.current || event.pointerId !== this.pointer) return;
    this.current = null;
    performance.mark("stroke");
    this.changed(this.strokes);
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
