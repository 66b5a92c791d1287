// A head as a matrix: rows attend to columns. Pictures of bytes are drawn on a canvas and put into
// an SVG, which is what the page shows and what is saved.

const LABEL = 12; // pixels of a label's font
const MOST_PIXELS = 1024; // of a side of the canvas; larger matrices show the largest of each block

// The pixels of a head, of which each is the largest weight of a block.
function headCanvas(source, at, shade, most = MOST_PIXELS) {
  const { rows, columns } = source.about;
  const height = Math.min(rows.length, most),
    width = Math.min(columns.length, most);
  const parts = new Float32Array(height * width);
  for (let row = 0; row < rows.length; row++) {
    const found = source.row(at, row),
      top = darkest(source, at, row, shade);
    const start = Math.floor((row * height) / rows.length) * width;
    for (let i = 0; i < found.columns.length; i++) {
      const place = start + Math.floor((found.columns[i] * width) / columns.length);
      const part = found.values[i] / top;
      if (Math.abs(part) > Math.abs(parts[place])) parts[place] = part;
    }
  }
  return paint(parts, width, height, { signed: source.signed });
}

// A canvas of parts, from -1 to 1, a pixel each. Over a picture small parts let it shine through.
function paint(parts, width, height, { signed = false, over = false } = {}) {
  const canvas = html("canvas", { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < parts.length; i++) {
    const size = Math.min(1, Math.abs(parts[i]));
    const [red, green, blue] = colorOf(
      over ? Math.sign(parts[i]) * (0.5 + size / 2) : parts[i],
      signed,
    );
    image.data.set([red, green, blue, over ? 235 * size ** 0.7 : 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// How many pixels labels take, and every how many of them there is room for one.
function margin(labels, cell) {
  const longest = labels.reduce((most, each) => Math.max(most, Math.min(each.length, 24)), 1);
  return {
    size: Math.min(170, 14 + 7 * longest),
    every: Math.max(1, Math.ceil((LABEL + 2) / cell)),
  };
}

// A label of an SVG, whose direction of writing does not spread to its neighbours.
function svgLabel(text, attributes) {
  const label = svg("text", { "font-size": LABEL, fill: "currentColor", ...attributes });
  label.textContent = `\u2068${shorten(text)}\u2069`;
  return label;
}

class MatrixFigure {
  constructor(source, at, options) {
    const { rows, columns, marks, picture } = source.about;
    Object.assign(this, { source, at, options });
    const strip = picture && picture.grid[0] === 1 ? 72 : 0;
    this.left = margin(rows, 12).size;
    const room = Math.max(160, options.width - this.left - 8);
    this.across = Math.min(26, room / columns.length);
    this.down = Math.min(26, Math.max(this.across, 480 / rows.length), 760 / rows.length);
    const names = margin(columns, this.across),
      lines = margin(rows, this.down);
    this.top = names.size + strip;
    this.wide = this.across * columns.length;
    this.high = this.down * rows.length;
    const width = Math.ceil(this.left + this.wide + 8),
      height = Math.ceil(this.top + this.high + 4);

    const canvas = headCanvas(source, at, options.shade);
    const crisp = this.across >= 1 ? "pixelated" : "auto";
    const place = { x: this.left, y: this.top, width: this.wide, height: this.high };
    const image = svg("image", {
      ...place,
      href: canvas.toDataURL(),
      preserveAspectRatio: "none",
      "image-rendering": crisp,
    });
    this.row = svg("rect", { x: this.left, width: this.wide, height: this.down, class: "chosen" });
    this.column = svg("rect", {
      y: this.top,
      width: this.across,
      height: this.high,
      class: "chosen",
    });
    this.labels = svg("g");
    for (let row = 0; row < rows.length; row += lines.every) {
      const y = this.top + (row + 0.5) * this.down + LABEL / 3;
      this.labels.append(svgLabel(rows[row], { x: this.left - 6, y, "text-anchor": "end" }));
    }
    for (let column = 0; column < columns.length; column += names.every) {
      const x = this.left + (column + 0.5) * this.across,
        y = names.size - 4;
      const turned = `rotate(-90 ${x} ${y}) translate(0 ${LABEL / 3})`;
      this.labels.append(svgLabel(columns[column], { x, y, transform: turned }));
    }
    this.element = figureSvg(
      [width, height],
      options,
      (event) => this.find(event),
      image,
      svg("rect", { ...place, fill: "none", stroke: "currentColor", "stroke-opacity": 0.35 }),
      this.labels,
      ...marks.map((each) => this.mark(each)),
      this.row,
      this.column,
    );
    if (strip) {
      const shown = { x: this.left, y: names.size, width: this.wide, height: strip - 6 };
      this.element.append(pictureImage(picture, shown, "none"));
    }
  }

  mark([row, column, name]) {
    const box = svg("rect", {
      x: this.left + column * this.across - 0.5,
      y: this.top + row * this.down - 0.5,
      width: this.across + 1,
      height: this.down + 1,
      class: "mark",
      fill: "none",
      stroke: "#a855f7",
      "stroke-width": 2,
    });
    box.append(svg("title", {}, name));
    return box;
  }

  // What the pointer is over: a cell, or the label of a row or of a column.
  find(event) {
    const point = pointIn(this.element, event);
    const [x, y] = [point[0] - this.left, point[1] - this.top];
    const { rows, columns } = this.source.about;
    const row = Math.min(rows.length - 1, Math.floor(y / this.down));
    const column = Math.min(columns.length - 1, Math.floor(x / this.across));
    if (y < 0) return x < 0 ? null : { axis: "column", index: column };
    return { axis: "row", index: row, other: x < 0 ? undefined : column };
  }

  show(focus) {
    const over = focus.axis === "row" ? [focus.index, focus.other] : [focus.other, focus.index];
    const place = (box, name, start, size, index) => {
      box.setAttribute("visibility", index === undefined ? "hidden" : "visible");
      if (index !== undefined) box.setAttribute(name, start + index * size);
    };
    place(this.row, "y", this.top, this.down, over[0]);
    place(this.column, "x", this.left, this.across, over[1]);
  }
}
