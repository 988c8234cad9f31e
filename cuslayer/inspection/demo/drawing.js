// From the strokes of a pen to the 8 x 8 pixels of a digit, as the digits of the data set were made.
//
// Those were written on paper, scanned, scaled to 32 rows and about 22 columns, and made equally bold: about 30 % of
// the 32 x 32 pixels are ink. A pixel of the digit is the number of ink pixels in a square of 4 x 4.
"use strict";

const FINE = 32, SQUARE = 4, WIDEST = 22, INK = 0.305;
const THINNEST = 1, BOLDEST = 5.5, SMALLEST = 0.2; // radii of the pen; the size below which a drawing is not enlarged

// Return the squared distance of a point from a line segment.
function distance2(x, y, [ax, ay, bx, by]) {
  const dx = bx - ax, dy = by - ay, length2 = dx * dx + dy * dy;
  const at = length2 && Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length2));
  return (x - ax - at * dx) ** 2 + (y - ay - at * dy) ** 2;
}

// Return the 32 x 32 pixels, 0 or 1, of strokes drawn with a pen of a radius. Strokes are lists of [x, y] from 0 to 1.
function inked(strokes, radius) {
  const points = strokes.flat(), xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const width = Math.max(right - left, 1e-9), height = Math.max(bottom - top, 1e-9), room = FINE - 2 * radius;
  const down = room / Math.max(height, width * (room / FINE), SMALLEST);
  const along = Math.min(down, Math.max(WIDEST - 2 * radius, 1) / width);
  const place = ([x, y]) => [FINE / 2 + (x - (left + right) / 2) * along, FINE / 2 + (y - (top + bottom) / 2) * down];
  const lines = strokes.flatMap((stroke) => {
    const placed = stroke.map(place);
    return placed.map(([x, y], i) => [...placed[Math.max(0, i - 1)], x, y]);
  });
  const ink = new Uint8Array(FINE * FINE);
  for (const line of lines) {
    const from = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
    const to = (a, b) => Math.min(FINE, Math.ceil(Math.max(a, b) + radius));
    for (let r = from(line[1], line[3]); r < to(line[1], line[3]); r++) {
      for (let c = from(line[0], line[2]); c < to(line[0], line[2]); c++) {
        if (distance2(c + 0.5, r + 0.5, line) <= radius * radius) ink[r * FINE + c] = 1;
      }
    }
  }
  return ink;
}

// Return the 8 x 8 pixels, 0 to 16, of strokes.
function pixelsOf(strokes) {
  const side = FINE / SQUARE, pixels = new Uint8Array(side * side);
  if (!strokes.length) return pixels;
  let thin = THINNEST, bold = BOLDEST, ink = null;
  // The boldness of the data set: halve the interval of radii.
  for (let round = 0; round < 6; round++) {
    const radius = (thin + bold) / 2;
    ink = inked(strokes, radius);
    if (ink.reduce((sum, pixel) => sum + pixel, 0) < INK * FINE * FINE) thin = radius;
    else bold = radius;
  }
  ink.forEach((on, i) => {
    pixels[Math.floor(i / FINE / SQUARE) * side + Math.floor((i % FINE) / SQUARE)] += on;
  });
  return pixels;
}
