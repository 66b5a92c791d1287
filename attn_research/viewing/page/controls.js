// Buttons, choices and keys.

// A set of choices of which one holds.
function radios(host, name, choices, chosen) {
  const legend = host.querySelector("legend");
  const inside = host.contains(document.activeElement);
  const labels = choices.map(([value, text]) => {
    const input = html("input", { type: "radio", name, value, checked: value === chosen });
    input.addEventListener("change", () => select({ [name]: value }));
    return html("label", {}, input, html("span", { textContent: text, dir: "auto" }));
  });
  host.replaceChildren(legend, ...labels);
  host.hidden = choices.length < 2;
  if (inside) host.querySelector("input:checked")?.focus();
}

function options(host, texts, chosen) {
  host.replaceChildren(
    ...texts.map((textContent, value) => html("option", { textContent, value })),
  );
  host.value = String(chosen);
  host.closest(".field").hidden = texts.length < 2;
}

function fillControls(sources, modes, mode) {
  const { about } = sources[0].source;
  radios(
    part("views"),
    "view",
    names.map((name) => [name, name]),
    state.view,
  );
  const runs = data.runs.map((run, i) => [String(i), run.name || `run ${i + 1}`]);
  radios(
    part("runs"),
    "run",
    runs.length > 1 ? [...runs, ["both", "side by side"]] : runs,
    state.run,
  );
  radios(
    part("modes"),
    "mode",
    modes.map(([name, text]) => [name, text]),
    mode,
  );
  options(part("layer"), about.layers, state.layer);
  options(part("head"), about.heads, state.head);
}

for (const name of ["layer", "head"]) {
  part(name).addEventListener("change", (event) => select({ [name]: Number(event.target.value) }));
}
part("shade").addEventListener("change", (event) => select({ shade: event.target.value }));
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  part("theme").textContent = name === "dark" ? "Light" : "Dark";
}

let chosenTheme = null; // by the button; else that of the system
const system = matchMedia("(prefers-color-scheme: dark)");
function followSystem() {
  setTheme(chosenTheme ?? (system.matches ? "dark" : "light"));
}
system.addEventListener("change", () => {
  followSystem();
  draw();
});
part("theme").addEventListener("click", () => {
  chosenTheme = theme() === "dark" ? "light" : "dark";
  followSystem();
  draw();
});
part("print").addEventListener("click", () => print());
// Paper is white.
addEventListener("beforeprint", () => {
  setTheme("light");
  draw();
});
addEventListener("afterprint", () => {
  followSystem();
  draw();
});

function fileName() {
  return `${state.view}-${where(panels[0].source.about)}`.replace(/[^\w-]+/g, "-");
}
part("save-svg").addEventListener("click", () => {
  download(new Blob([svgText(savedSvg(panels))], { type: "image/svg+xml" }), `${fileName()}.svg`);
});
part("save-png").addEventListener("click", async () => {
  download(await pngOf(savedSvg(panels)), `${fileName()}.png`);
});

const STEPS_OF_KEYS = {
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
  ArrowDown: [1, 0],
  ArrowUp: [-1, 0],
};

function press(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const { about } = panels[0].source;
  const inGrid = part("grid").contains(event.target);
  const step = STEPS_OF_KEYS[event.key];
  if (step && (event.shiftKey || inGrid)) {
    const turn = (place, by, all) => (place + by + all.length) % all.length;
    select({
      layer: turn(state.layer, step[0], about.layers),
      head: turn(state.head, step[1], about.heads),
    });
  } else if (inGrid) return;
  else if (event.key === "Escape") keep({ axis: "row", index: about.start[2] });
  else {
    const last = about[kept.axis === "row" ? "rows" : "columns"].length - 1;
    const moves = { Home: -Infinity, End: Infinity, PageUp: -10, PageDown: 10 };
    const by = step ? step[0] + step[1] : moves[event.key];
    if (by === undefined) return;
    keep({ axis: kept.axis, index: Math.max(0, Math.min(last, kept.index + by)) });
    document.activeElement.tokens?.[kept.index]?.scrollIntoView({ block: "nearest" });
  }
  event.preventDefault();
}
part("figure").addEventListener("keydown", press);
part("grid").addEventListener("keydown", press);

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  draw();
});

part("title").textContent = document.title = data.title;
part("notes").replaceChildren(
  ...data.notes.map((textContent) => html("li", { textContent, dir: "auto" })),
);
[state.layer, state.head] = startOf(state.view);
followSystem();

// For the console of the browser: choose what is shown, and read a weight, exact within `error`.
window.attention = {
  ready: select({}),
  state,
  select,
  drawn: () => lastDrawn.then(() => grid.finished),
  svg: () => svgText(savedSvg(panels)),
  cell: async ({ run = 0, view = state.view, layer, head, row, column }) =>
    (await load(run, view)).cell({ layer, head }, row, column),
};
