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
const state = {
  view: names[0],
  run: data.runs.length > 1 ? "both" : "0",
  mode: "",
  layer: 0,
  head: 0,
  shade: "",
};
let panels = [],
  focus = null,
  kept = null,
  drawing = 0;

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
  const single = [first, second]
    .map((source, i) => ({ title: titles[i], source }))
    .filter((each) => each.source);
  if (state.run !== "both" || single.length < 2) {
    const one = single.filter((each) => each.title === titles[Number(state.run)]);
    return one.length ? one : single;
  }
  if (!Difference.exists(first, second)) return single;
  return [
    ...single,
    { title: `${titles[1]} minus ${titles[0]}`, source: new Difference(first, second) },
  ];
}

// How a view is drawn unless the reader chooses: lines would cross too often in long texts.
function usual(about) {
  if (about.picture) return "picture";
  return Math.max(about.rows.length, about.columns.length) <= 40 ? "lines" : "words";
}

function where(about) {
  if (about.layers.length * about.heads.length === 1) return "";
  const head = about.heads[state.head];
  return `layer ${about.layers[state.layer]}, ${/^\d/.test(head) ? `head ${head}` : head}`;
}

async function draw() {
  const ticket = ++drawing;
  const sources = await chosenSources();
  if (ticket !== drawing) return;
  const { about } = sources[0].source;
  state.layer = Math.min(
    state.layer,
    ...sources.map((each) => each.source.about.layers.length - 1),
  );
  state.head = Math.min(state.head, ...sources.map((each) => each.source.about.heads.length - 1));
  kept ??= { axis: "row", index: about.start[2] };
  thumbnails(sources);
  const fitting = MODES.filter(([, , fits]) => sources.every((each) => fits(each.source.about)));
  const mode = fitting.find(([name]) => name === (state.mode || usual(about))) ?? fitting[0];
  const shade = state.shade || (["words", "picture"].includes(mode[0]) ? "row" : "head");
  part("shade").value = shade;
  const at = { layer: state.layer, head: state.head };
  part("stage-title").textContent = [state.view, where(about)].filter(Boolean).join(", ");
  const room = part("figure").clientWidth,
    gap = 28;
  const beside = sources.length === 1 && room > 900 ? 400 : 0; // of the largest weights
  const width = Math.max(280, (room - beside - gap * (sources.length - 1)) / sources.length);
  const boxes = [];
  panels = sources.map(({ title, source }, number) => {
    const label = [title, state.view, where(source.about)].filter(Boolean).join(", ");
    const figure = new mode[3](source, at, {
      label,
      width,
      number,
      shade,
      on: pointed,
    });
    const box = html(
      "div",
      {
        className: `panel ${mode[0] === "words" ? "text" : ""}`,
        role: "group",
        "aria-label": label,
      },
      figure.element,
    );
    if (mode[0] !== "words") box.tabIndex = 0;
    const drawn = html("div", {}, box, legend(source, at, shade));
    if (sources.length > 1) drawn.prepend(html("h3", { className: "run", textContent: title }));
    const top = html("div", { className: "top" });
    boxes.push(html("div", { className: beside ? "column beside" : "column" }, drawn, top));
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
  const { source } = sources[sources.length - 1],
    { about } = source;
  const alone = about.layers.length * about.heads.length === 1;
  part("grid").parentElement.hidden = alone;
  document.querySelector("main").classList.toggle("alone", alone);
  const row = Math.min(kept.axis === "row" ? kept.index : 0, about.rows.length - 1);
  const look = [theme(), state.view, state.run, state.shade, about.picture ? row : ""].join();
  if (look !== drawnHeads) grid.draw(source, row, state.shade || "head");
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

function legend(source, at, shade) {
  const top = shade === "one" ? 1 : source.largest(at);
  const parts = Float32Array.from({ length: 128 }, (_, i) =>
    source.signed ? i / 63.5 - 1 : i / 127,
  );
  const canvas = paint(parts, 128, 1, { signed: source.signed });
  canvas.setAttribute("aria-hidden", "true");
  const ends =
    shade === "row" ? ["0", "row's largest"] : [source.signed ? number(-top) : "0", number(top)];
  return html(
    "div",
    { className: "legend" },
    html("span", { textContent: ends[0] }),
    canvas,
    html("span", { textContent: ends[1] }),
  );
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

// The layer and the head that a view begins with.
function startOf(name) {
  return data.runs.flatMap((run) => run.views).find((view) => view.name === name).start;
}

let lastDrawn = Promise.resolve();
function select(changes) {
  if (changes.view !== undefined && changes.view !== state.view) {
    kept = null;
    [state.layer, state.head] = startOf(changes.view);
  }
  Object.assign(state, changes);
  lastDrawn = draw();
  return lastDrawn;
}
