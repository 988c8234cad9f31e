// The problems of a page, as texts: contrast of texts, names of controls and pictures, headings, ids, width.
(() => {
  const found = [], pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = color;
    pixel.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((x, i) => a * x + (1 - a) * below[i]);
  const background = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    const page = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
    return layers.reverse().reduce((below, layer) => over(layer, below), page);
  };
  const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => rgb.map((x) => linear(x / 255))
    .reduce((sum, x, i) => sum + [0.2126, 0.7152, 0.0722][i] * x, 0);
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const visible = (node) => node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) &&
    node.getClientRects().length > 0;
  const text = (node) => (node.textContent ?? "").replace(/\s+/g, " ").trim();
  const named = (node) => node.getAttribute("aria-label") || node.getAttribute("alt") || node.getAttribute("title") ||
    node.querySelector("img[alt]:not([alt=''])")?.alt ||
    (node.getAttribute("aria-labelledby") ?? "").split(/\s+/).map((id) => id && document.getElementById(id))
      .filter(Boolean).map(text).join("") || [...(node.labels ?? [])].map(text).join("");
  const short = (node) => node.outerHTML.slice(0, 90);

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, words = walker.currentNode.data.trim();
    if (!words || !visible(node) || node.closest("script, style, noscript, option, title")) continue;
    const style = getComputedStyle(node), svg = node.closest("svg"), below = background(svg ?? node);
    const color = rgba(svg ? style.fill : style.color), size = parseFloat(style.fontSize);
    let opacity = color[3];
    for (let at = node; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    if (node.closest("[disabled]")) continue;
    const ratio = contrast(over([...color.slice(0, 3), opacity], below), below);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${words.slice(0, 40)}`);
  }
  const controls = "input:not([type=hidden]), select, textarea, button, a[href], summary";
  for (const node of document.querySelectorAll(controls)) {
    if (visible(node) && !named(node) && !(node.matches("button, a, summary") && text(node))) {
      found.push(`no name: ${short(node)}`);
    }
  }
  for (const node of document.querySelectorAll("img:not([alt])")) found.push(`no alt: ${short(node)}`);
  for (const node of document.querySelectorAll("canvas, svg, [role=img]")) {
    const within = node.parentElement.closest("[role=img], [aria-hidden=true], button, a[href]");
    if (visible(node) && !within && node.getAttribute("aria-hidden") !== "true" && !named(node)) {
      found.push(`picture without a name: ${short(node)}`);
    }
  }
  for (const node of document.querySelectorAll("th")) {
    if (!text(node)) found.push(`empty heading of a column: ${short(node)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) found.push(`id twice: ${id}`);
  const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(({ tagName }) => Number(tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) found.push("not one h1");
  levels.forEach((level, at) => {
    if (at && level > levels[at - 1] + 1) found.push(`h${level} after h${levels[at - 1]}`);
  });
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title.trim()) found.push("no title");
  if (!document.querySelector("meta[name=viewport]")) found.push("no viewport");
  if (!document.querySelector("main")) found.push("no main");
  if (document.documentElement.scrollWidth > innerWidth) {
    found.push(`${document.documentElement.scrollWidth} pixels wide in a window of ${innerWidth}`);
  }
  if (matchMedia("(pointer: coarse)").matches) {
    for (const node of document.querySelectorAll("button, select, input:not([type=hidden])")) {
      const { width, height } = node.getBoundingClientRect();
      // Cells of a grid are as large as it allows.
      if (visible(node) && !node.closest("[role=grid]") && (width < 24 || height < 16)) {
        found.push(`${Math.round(width)} x ${Math.round(height)} pixels: ${short(node)}`);
      }
    }
  }
  return [...new Set(found)];
})()
