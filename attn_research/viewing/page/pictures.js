// A picture and, over its patches, where one row attends. Where rows are patches as well, the
// patch under the pointer is the row.

const SIDE = 440; // pixels that a picture is drawn with, at most

function pictureImage(picture, place, ratio) {
  const small = Math.max(...picture.size) < 128;
  return svg("image", {
    ...place,
    href: `data:image/png;base64,${picture.png}`,
    preserveAspectRatio: ratio,
    "image-rendering": small ? "pixelated" : "auto",
  });
}

// A canvas of a pixel a patch, with the weights of a row.
function patchCanvas(source, at, row, shade, over) {
  const { grid, first } = source.about.picture;
  const parts = new Float32Array(grid[0] * grid[1]);
  const found = source.row(at, row);
  let top = 0;
  for (let i = 0; i < found.columns.length; i++) {
    if (found.columns[i] >= first) top = Math.max(top, Math.abs(found.values[i]));
  }
  if (shade !== "row") top = darkest(source, at, row, shade);
  for (let i = 0; i < found.columns.length; i++) {
    if (found.columns[i] >= first) parts[found.columns[i] - first] = found.values[i] / (top || 1);
  }
  return paint(parts, grid[1], grid[0], { signed: source.signed, over });
}

class PictureFigure {
  constructor(source, at, options) {
    const { picture, same } = source.about;
    Object.assign(this, { source, at, options, same });
    const ratio = picture.size[1] / picture.size[0];
    const limit = picture.grid[0] === 1 ? options.width - 8 : SIDE;
    this.wide = Math.min(limit, options.width - 8, ratio > 1 ? SIDE / ratio : Infinity);
    this.high =
      picture.grid[0] === 1 ? Math.min(240, Math.max(120, this.wide * ratio)) : this.wide * ratio;
    this.cells = [this.wide / picture.grid[1], this.high / picture.grid[0]];
    const place = { x: 0, y: 0, width: this.wide, height: this.high };
    const crisp = { preserveAspectRatio: "none", "image-rendering": "pixelated" };
    this.over = svg("image", { ...place, ...crisp });
    this.own = svg("rect", { width: this.cells[0], height: this.cells[1], class: "chosen" });
    const size = { width: Math.ceil(this.wide), height: Math.ceil(this.high) };
    this.svg = figureSvg(
      [size.width, size.height],
      options,
      (event) => this.find(event),
      pictureImage(picture, place, "none"),
      svg("rect", {
        ...place,
        class: "veil",
        fill: theme() === "dark" ? "#12161c" : "#ffffff",
        "fill-opacity": 0.45,
      }),
      this.over,
      this.own,
    );
    // Rows that are no patches are tokens below the picture.
    const tokens = same ? source.about.rows.slice(0, picture.first) : source.about.rows;
    this.tokens = tokenList("row", tokens, "Attends", options);
    this.element = html("div", {}, this.svg);
    if (tokens.length) this.element.append(this.tokens);
  }

  find(event) {
    const { picture, columns } = this.source.about;
    const [x, y] = pointIn(this.svg, event);
    const across = Math.floor(x / this.cells[0]),
      down = Math.floor(y / this.cells[1]);
    const index = picture.first + down * picture.grid[1] + across;
    const outside = across < 0 || down < 0 || across >= picture.grid[1] || index >= columns.length;
    return outside ? null : { axis: this.same ? "row" : "column", index };
  }

  show(focus) {
    const { picture } = this.source.about;
    for (const token of this.tokens.tokens) token.style.backgroundColor = token.style.color = "";
    const byRow = focus.axis === "row";
    const patch = byRow && !this.same ? -1 : focus.index - picture.first;
    this.own.setAttribute("visibility", patch < 0 ? "hidden" : "visible");
    if (patch >= 0) {
      this.own.setAttribute("x", (patch % picture.grid[1]) * this.cells[0]);
      this.own.setAttribute("y", Math.floor(patch / picture.grid[1]) * this.cells[1]);
    }
    this.tokens.own(byRow && patch < 0 ? focus.index : -1);
    if (!byRow) {
      const found = this.source.column(this.at, focus.index);
      const top = darkest(this.source, this.at, null, this.options.shade);
      found.rows.forEach((row, i) => this.shadeToken(row, found.values[i] / top));
      this.over.removeAttribute("href");
      return;
    }
    const shown = patchCanvas(this.source, this.at, focus.index, this.options.shade, true);
    this.over.setAttribute("href", shown.toDataURL());
  }

  shadeToken(row, part) {
    const token = this.tokens.tokens[row],
      color = colorOf(part, this.source.signed);
    if (!token || Math.abs(part) < 0.01) return;
    token.style.backgroundColor = css(color);
    token.style.color = ink(color);
  }

  toSvg() {
    return this.svg.cloneNode(true);
  }
}
