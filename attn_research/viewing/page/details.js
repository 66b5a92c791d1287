// What is said beside a figure: the largest weights of what is pointed at.

// The largest weights of a row, or on a column, with their labels.
function ranked(panel, here, most) {
  const { rows, columns } = panel.source.about;
  const { byRow, others, values } = focused(panel, here);
  const order = Array.from(others, (_, i) => i).sort(
    (a, b) => Math.abs(values[b]) - Math.abs(values[a]),
  );
  const total = values.reduce((sum, value) => sum + value, 0);
  const texts = byRow ? columns : rows;
  const best = order
    .slice(0, most)
    .map((i) => ({ index: others[i], text: texts[others[i]], value: values[i] }));
  return {
    own: (byRow ? rows : columns)[here.index],
    best,
    total,
    count: others.length,
    all: texts.length,
  };
}

function strongest(panel, here) {
  const { own, best, total, count, all } = ranked(panel, here, 8);
  const { about, signed } = panel.source;
  const verb = here.axis === "row" ? "attends to" : "is attended to by";
  const title = html("h3", {}, html("bdi", { textContent: shorten(own, 40) }), ` ${verb}`);
  const top = Math.max(...best.map((each) => Math.abs(each.value)), 1e-9);
  const marked = marksOf(about, here);
  const lines = best.map((each) => {
    const bar = html("span", { className: each.value < 0 ? "bar less" : "bar" });
    bar.style.width = `${(100 * Math.abs(each.value)) / top}%`;
    const chosen = each.index === here.other ? "chosen-line" : "";
    const name = marked.has(each.index) ? ` · ${marked.get(each.index)}` : "";
    return html(
      "li",
      { className: chosen },
      html("bdi", { textContent: shorten(each.text, 40) + name }),
      html("span", { className: "track" }, bar),
      html("span", { className: "number", textContent: number(each.value) }),
    );
  });
  const remarks = [];
  if (here.other !== undefined && here.axis === "row") {
    const cell = panel.source.cell(
      panel.at,
      here.index,
      Math.min(here.other, about.columns.length - 1),
    );
    const value =
      cell.kept || signed || about.bound < 5e-5
        ? number(cell.value)
        : `less than ${number(about.bound)}`;
    remarks.push(
      html(
        "p",
        { className: "cell" },
        html("bdi", { textContent: shorten(about.columns[here.other] ?? "", 40) }),
        `: ${value}`,
      ),
    );
  }
  const others = all - Math.min(count, 8);
  if (here.axis === "row" && about.sums_to_one && !signed && others > 0) {
    const shown = best.reduce((sum, each) => sum + each.value, 0);
    remarks.push(
      html("p", { textContent: `the other ${others} together ${number(Math.max(0, 1 - shown))}` }),
    );
  } else if (count > 8)
    remarks.push(html("p", { textContent: `all ${count} together ${number(total)}` }));
  if (!best.length)
    remarks.unshift(html("p", { textContent: `nothing above ${number(about.bound)}` }));
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
  const step = (about.scale / about.steps / 2).toPrecision(1);
  const small = `Those below ${number(about.bound)} are not in this file, and stand for half of that.`;
  part("exact").textContent = `Weights are exact to ${step}. ${about.bound < 5e-5 ? "" : small}`;
}
