// What all scripts of a page use: elements, colors, and numbers and places as text.
"use strict";

const $ = (id) => document.getElementById(id);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
// Return a color as [red, green, blue].
const rgb = (name) => color(name).match(/\w\w/g).map((pair) => parseInt(pair, 16));
// The pixels of a canvas for each CSS pixel: more than two would cost time and show no more.
const pixelRatio = () => Math.min(2, devicePixelRatio || 1);
const short = (x) => String(Number(x.toPrecision(4))).replace("-", "−");
const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(4);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Return the index of a neuron as text: a number, or (row, column, channel).
function indexText({ shape }, neuron) {
  return shape.length === 1 ? String(neuron) : `(${unravel(neuron, shape).join(", ")})`;
}
