// A head as lines from the tokens that attend, on the left, to those attended to, on the right.

const MOST_LINES = 160; // tokens of a side
const MOST_DRAWN = 2000; // lines of all rows together
const STEP = 20; // pixels from a token to the next

class LinesFigure {
  static fits(about) {
    return Math.max(about.rows.length, about.columns.length) <= MOST_LINES;
  }

  constructor(source, at, options) {
    const { rows, columns } = source.about;
    Object.assign(this, { source, at, options });
    const [left, right] = [rows, columns].map((each) => margin(each, STEP).size);
    const between = Math.min(460, Math.max(120, options.width - left - right));
    this.ends = [left + 6, left + between - 6];
    const width = Math.ceil(left + between + right);
    const height = STEP * Math.max(rows.length, columns.length) + 8;
    this.labels = [rows, columns].map((texts, side) =>
      texts.map((text, i) => {
        const x = side ? left + between : left,
          y = this.y(i) + LABEL / 3;
        const anchor = side ? "start" : "end";
        return svgLabel(text, { x, y, "text-anchor": anchor, "data-side": side, "data-i": i });
      }),
    );
    const all = (this.all = svg("g", {}, ...this.strongest()));
    this.strong = svg("g");
    this.element = figureSvg(
      [width, height],
      options,
      (event) => this.find(event),
      all,
      this.strong,
      ...this.labels.flat(),
    );
  }

  y(index) {
    return STEP * (index + 0.5) + 4;
  }

  line(row, column, part) {
    const [x, end] = this.ends,
      middle = (x + end) / 2;
    const from = this.y(row),
      to = this.y(column);
    return svg("path", {
      d: `M${x} ${from}C${middle} ${from} ${middle} ${to} ${end} ${to}`,
      fill: "none",
      stroke: css(colors(part < 0 ? "less" : "weights")[150]),
      "stroke-width": 1 + 3 * Math.abs(part),
      "stroke-opacity": Math.min(1, 0.12 + Math.abs(part)),
    });
  }

  // Lines of all rows: those of the largest weights of the head.
  strongest() {
    const top = this.source.largest(this.at) || 1,
      found = [];
    for (let row = 0; row < this.source.about.rows.length; row++) {
      const { columns, values } = this.source.row(this.at, row);
      for (let i = 0; i < columns.length; i++) found.push([row, columns[i], values[i] / top]);
    }
    const best = found.filter((each) => Math.abs(each[2]) >= 0.08);
    best.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]));
    return best.slice(0, MOST_DRAWN).map((each) => this.line(...each));
  }

  find(event) {
    const [x, y] = pointIn(this.element, event);
    const axis = x < (this.ends[0] + this.ends[1]) / 2 ? "row" : "column";
    const index = Math.floor((y - 4) / STEP);
    const count = this.source.about[axis === "row" ? "rows" : "columns"].length;
    return index >= 0 && index < count ? { axis, index } : null;
  }

  show(focus) {
    const { byRow, others, values, top } = focused(this, focus);
    const lines = Array.from(others, (other, i) =>
      this.line(...(byRow ? [focus.index, other] : [other, focus.index]), values[i] / top),
    );
    this.strong.replaceChildren(...lines.filter((_, i) => Math.abs(values[i]) > 0.01 * top));
    this.all.setAttribute("opacity", 0.25);
    const near = new Map(Array.from(others, (other, i) => [other, Math.abs(values[i]) / top]));
    const marked = marksOf(this.source.about, focus);
    this.labels.forEach((side, number) => {
      const own = (number === 0) === byRow;
      side.forEach((label, i) => {
        const part = own ? Number(i === focus.index) : (near.get(i) ?? 0);
        label.setAttribute("opacity", own ? 1 : 0.65 + 0.35 * Math.min(1, 3 * part));
        label.setAttribute("text-decoration", number && marked.has(i) ? "underline" : "none");
        label.setAttribute("font-weight", part > 0.25 ? 700 : 400);
      });
    });
  }
}
