// What is shown, and the controls of it.

const data = JSON.parse(document.getElementById("data").textContent);
const part = (id) => document.getElementById(id);
const MODES = [
  ["picture", "Picture", (about) => about.picture, PictureFigure],
  ["lines", "Lines", (about) => LinesFigure.fits(about), LinesFigure],
  ["words", "Text", () => true, WordsFigure],
  ["matrix", "Matrix", () => true, MatrixFigure],
];
const names = [...new Set(data.runs.flatMap((run) => run.views.map((view) => view.name)))];
const state = { view: names[0], run: data.runs.length > 1 ? "both" : "0", mode: "", layer: 0, head: 0, shade: "head" };
let panels = [], focus = null, kept = null, drawing = 0;

const read = new Map();
function load(run, name) {
  const about = data.runs[run]?.views.find((view) => view.name === name);
  const key = `${run} ${name}`;
  if (about && !read.has(key)) read.set(key, Weights.read(about));
  return read.get(key);
}

// The sources to show beside each other, with their titles.
async function chosenSources() {
  const [first, second] = await Promise.all([load(0, state.view), load(1, state.view)]);
  const titles = data.runs.map((run, i) => run.name || `run ${i + 1}`);
  const single = [first, second].map((source, i) => ({ title: titles[i], source })).filter((each) => each.source);
  if (state.run !== "both" || single.length < 2) {
    const one = single.filter((each) => each.title === titles[Number(state.run)]);
    return one.length ? one : single;
  }
  if (!Difference.exists(first, second)) return single;
  return [...single, { title: `${titles[1]} minus ${titles[0]}`, source: new Difference(first, second) }];
}

function where(about) {
  const head = about.heads[state.head];
  return `layer ${about.layers[state.layer]}, ${/^\d/.test(head) ? `head ${head}` : head}`;
}

async function draw() {
  const ticket = ++drawing;
  const sources = await chosenSources();
  if (ticket !== drawing) return;
  const { about } = sources[0].source;
  state.layer = Math.min(state.layer, ...sources.map((each) => each.source.about.layers.length - 1));
  state.head = Math.min(state.head, ...sources.map((each) => each.source.about.heads.length - 1));
  kept ??= { axis: "row", index: about.start[2] };
  thumbnails(sources);
  const fitting = MODES.filter(([, , fits]) => sources.every((each) => fits(each.source.about)));
  const mode = fitting.find(([name]) => name === state.mode) ?? fitting[0];
  const at = { layer: state.layer, head: state.head };
  part("stage-title").textContent = `${state.view}, ${where(about)}`;
  const room = part("figure").clientWidth, gap = 28;
  const width = Math.max(280, (room - gap * (sources.length - 1)) / sources.length);
  const boxes = [];
  panels = sources.map(({ title, source }, number) => {
    const label = [title, state.view, where(source.about)].filter(Boolean).join(", ");
    const figure = new mode[3](source, at, { label, width, number, shade: state.shade, on: pointed });
    const box = html("div", { className: "panel", role: "group", "aria-label": label }, figure.element);
    if (mode[0] !== "words") box.tabIndex = 0;
    const heading = html("h3", { textContent: sources.length > 1 ? title : "" });
    const top = html("div", { className: "top" });
    boxes.push(html("div", { className: "column" }, ...(heading.textContent ? [heading] : []), box, legend(source, at), top));
    return { title: label, source, at, figure, top };
  });
  replaceFigure(boxes);
  fillControls(sources, fitting, mode[0]);
  emphasize(kept);
  explainExactness(sources[0].source.about);
}

// The heads of the last source, drawn anew where they look otherwise.
let drawnHeads = "";
function thumbnails(sources) {
  const { source } = sources[sources.length - 1], { about } = source;
  part("grid").parentElement.hidden = about.layers.length * about.heads.length === 1;
  const row = Math.min(kept.axis === "row" ? kept.index : 0, about.rows.length - 1);
  const look = [theme(), state.view, state.run, state.shade, about.picture ? row : ""].join();
  if (look !== drawnHeads) grid.draw(source, row, state.shade);
  drawnHeads = look;
  grid.select(state);
}

// Puts boxes into the figure; the keyboard stays where it was.
function replaceFigure(boxes) {
  const stops = () => [...part("figure").querySelectorAll('[tabindex="0"]')];
  const place = stops().indexOf(document.activeElement);
  part("figure").replaceChildren(...boxes);
  stops()[place]?.focus({ preventScroll: true });
}

const grid = new HeadGrid(part("grid"), (at) => select(at));

function legend(source, at) {
  const top = state.shade === "one" ? 1 : source.largest(at);
  const parts = Float32Array.from({ length: 128 }, (_, i) => (source.signed ? i / 63.5 - 1 : i / 127));
  const canvas = paint(parts, 128, 1);
  canvas.setAttribute("aria-hidden", "true");
  const ends = state.shade === "row" ? ["0", "row's largest"] : [source.signed ? number(-top) : "0", number(top)];
  return html("div", { className: "legend" }, html("span", { textContent: ends[0] }), canvas, html("span", { textContent: ends[1] }));
}

// A figure tells of the pointer or the keyboard.
function pointed(kind, found) {
  if (kind === "leave") emphasize(kept);
  else if (kind === "axis" && kept.axis !== found.axis) keep({ axis: found.axis, index: 0 });
  else if (kind === "hover" && found) emphasize(found);
  else if (kind === "keep" && found) keep(found);
}

function keep(found) {
  kept = { axis: found.axis, index: found.index };
  thumbnails(panels);
  emphasize(found);
  part("said").textContent = panels.map((panel) => sentence(panel)).join(" ");
}

function clamped(found, about) {
  const last = (axis) => about[axis === "row" ? "rows" : "columns"].length - 1;
  return { ...found, index: Math.min(found.index, last(found.axis)) };
}

function emphasize(found) {
  const same = focus && ["axis", "index", "other"].every((key) => focus[key] === found[key]);
  focus = found;
  for (const panel of panels) {
    const here = clamped(found, panel.source.about);
    if (same && panel.shown) continue;
    panel.figure.show(here);
    panel.top.replaceChildren(...strongest(panel, here));
    panel.shown = true;
  }
}

// The largest weights of a row, or on a column, with their labels.
function ranked(panel, here, most) {
  const { source, at } = panel, { rows, columns } = source.about;
  const byRow = here.axis === "row";
  const found = byRow ? source.row(at, here.index) : source.column(at, here.index);
  const others = byRow ? found.columns : found.rows;
  const order = Array.from(others, (_, i) => i).sort((a, b) => Math.abs(found.values[b]) - Math.abs(found.values[a]));
  const total = found.values.reduce((sum, value) => sum + value, 0);
  const texts = byRow ? columns : rows;
  const best = order.slice(0, most).map((i) => ({ index: others[i], text: texts[others[i]], value: found.values[i] }));
  return { own: (byRow ? rows : columns)[here.index], best, total, count: others.length, all: texts.length };
}

function strongest(panel, here) {
  const { own, best, total, count, all } = ranked(panel, here, 8);
  const { about, signed } = panel.source;
  const verb = here.axis === "row" ? "attends to" : "is attended to by";
  const title = html("h4", {}, html("bdi", { textContent: shorten(own, 40) }), ` ${verb}`);
  const top = Math.max(...best.map((each) => Math.abs(each.value)), 1e-9);
  const marked = marksOf(about, here);
  const lines = best.map((each) => {
    const bar = html("span", { className: each.value < 0 ? "bar less" : "bar" });
    bar.style.width = `${(100 * Math.abs(each.value)) / top}%`;
    const chosen = each.index === here.other ? "chosen-line" : "";
    const name = marked.has(each.index) ? ` · ${marked.get(each.index)}` : "";
    return html("li", { className: chosen }, html("bdi", { textContent: shorten(each.text, 40) + name }), html("span", { className: "track" }, bar), html("span", { className: "number", textContent: number(each.value) }));
  });
  const remarks = [];
  if (here.other !== undefined && here.axis === "row") {
    const cell = panel.source.cell(panel.at, here.index, Math.min(here.other, about.columns.length - 1));
    const value = cell.kept || signed || about.bound < 5e-5 ? number(cell.value) : `less than ${number(about.bound)}`;
    remarks.push(html("p", { className: "cell" }, html("bdi", { textContent: shorten(about.columns[here.other] ?? "", 40) }), `: ${value}`));
  }
  const others = all - Math.min(count, 8);
  if (here.axis === "row" && about.sums_to_one && !signed && others > 0) {
    const shown = best.reduce((sum, each) => sum + each.value, 0);
    remarks.push(html("p", { textContent: `the other ${others} together ${number(Math.max(0, 1 - shown))}` }));
  } else if (count > 8) remarks.push(html("p", { textContent: `all ${count} together ${number(total)}` }));
  if (!best.length) remarks.unshift(html("p", { textContent: `nothing above ${number(about.bound)}` }));
  return [title, html("ol", {}, ...lines), ...remarks];
}

function sentence(panel) {
  const here = clamped(focus, panel.source.about);
  const { own, best } = ranked(panel, here, 3);
  const verb = here.axis === "row" ? "attends to" : "is attended to by";
  const found = best.map((each) => `${shorten(each.text)} ${number(each.value)}`).join(", ");
  return `${panels.length > 1 ? `${panel.title}: ` : ""}${shorten(own)} ${verb} ${found || "nothing"}.`;
}

function explainExactness(about) {
  const step = (about.scale / STEPS / 2).toPrecision(1);
  const small = `Those below ${number(about.bound)} are not in this file, and stand for half of that.`;
  part("exact").textContent = `Weights are exact to ${step}. ${about.bound < 5e-5 ? "" : small}`;
}

let lastDrawn = Promise.resolve();
function select(changes) {
  if (changes.view !== undefined && changes.view !== state.view) kept = null;
  Object.assign(state, changes);
  lastDrawn = draw();
  return lastDrawn;
}
