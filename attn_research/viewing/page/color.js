// Colors of weights: one hue from faint to strong, and two hues for differences. Both can be told
// apart without red and green.

const RAMPS = {
  light: {
    weights: ["#ffffff", "#d3e4f6", "#86b6e2", "#3a7fc0", "#174f8c", "#0a2748"],
    more: ["#ffffff", "#d3e4f6", "#86b6e2", "#3a7fc0", "#174f8c"],
    less: ["#ffffff", "#fbdcc0", "#f0a868", "#c96a16", "#874208"],
  },
  dark: {
    weights: ["#12161c", "#17324f", "#1f5a94", "#3f8fd6", "#8fc4f3", "#eaf5ff"],
    more: ["#12161c", "#17324f", "#1f5a94", "#3f8fd6", "#8fc4f3"],
    less: ["#12161c", "#452608", "#8a4a0e", "#cf7f2c", "#f3b677"],
  },
};

function channels(color) {
  return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
}

function theme() {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

const tables = {};

// 256 colors [red, green, blue] of a ramp.
function colors(name) {
  const key = `${theme()} ${name}`;
  if (!tables[key]) {
    const stops = RAMPS[theme()][name].map(channels);
    tables[key] = Array.from({ length: 256 }, (_, i) => {
      const place = (i / 255) * (stops.length - 1);
      const at = Math.min(Math.floor(place), stops.length - 2);
      return stops[at].map((low, c) => Math.round(low + (place - at) * (stops[at + 1][c] - low)));
    });
  }
  return tables[key];
}

// The color of a weight, or with `signed` of a difference, as a part of the largest.
function colorOf(part, signed) {
  const table = colors(!signed ? "weights" : part < 0 ? "less" : "more");
  return table[Math.min(255, Math.round(Math.abs(part) * 255))];
}

function css(color) {
  return `rgb(${color.join(", ")})`;
}

// Black or white, whichever is read better on a color.
function ink(color) {
  const linear = color.map((x) => {
    const part = x / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return light > 0.179 ? "#000000" : "#ffffff";
}

// What the darkest color stands for in a row: the scale that the reader chose.
function darkest(source, at, row, shade) {
  if (shade === "one") return 1;
  return (shade === "row" && row !== null ? source.largestOf(at, row) : source.largest(at)) || 1;
}

// What a row attends to, or what attends to a column: `others`, their `values`, and what the
// darkest color stands for.
function focused({ source, at, options }, focus) {
  const byRow = focus.axis === "row";
  const found = byRow ? source.row(at, focus.index) : source.column(at, focus.index);
  const top = darkest(source, at, byRow ? focus.index : null, options?.shade);
  return { byRow, others: byRow ? found.columns : found.rows, values: found.values, top };
}

// An SVG that is a figure, and reports what `find` says that the pointer is over.
function figureSvg([width, height], { label, on }, find, ...children) {
  const size = { viewBox: `0 0 ${width} ${height}`, width, height };
  const element = svg("svg", { ...size, role: "img", "aria-label": label }, ...children);
  element.addEventListener("pointermove", (event) => on("hover", find(event)));
  element.addEventListener("pointerleave", () => on("leave"));
  element.addEventListener("click", (event) => on("keep", find(event)));
  return element;
}

// Where the pointer is in an SVG, in its own units.
function pointIn(element, event) {
  const box = element.getBoundingClientRect();
  const { width, height } = element.viewBox.baseVal;
  return [
    ((event.clientX - box.left) / box.width) * width,
    ((event.clientY - box.top) / box.height) * height,
  ];
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function html(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}
