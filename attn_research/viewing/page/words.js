// A head as text: the tokens that attend, and those attended to, shaded by their weights. Each list
// is one stop of the keyboard; arrows go from token to token.

// A list of tokens, which reports those that are pointed at, clicked and come to by the keyboard.
function tokenList(axis, texts, title, options) {
  const list = html("div", { role: "listbox", tabIndex: 0, className: "tokens" });
  list.setAttribute("aria-label", `${title}: ${texts.length} tokens, ${options.label}`);
  const prefix = `${axis}-${options.number}-`;
  list.tokens = texts.map((text, i) => {
    const token = html("span", {
      role: "option",
      dir: "auto",
      id: prefix + i,
      "aria-selected": "false",
    });
    token.dataset.i = i;
    token.textContent = visible(text);
    if (text.length > 24) token.title = text.slice(0, 1000);
    return token;
  });
  list.append(...list.tokens);
  const found = (event) => {
    const token = event.target.closest("[data-i]");
    return token ? { axis, index: Number(token.dataset.i) } : null;
  };
  list.addEventListener("pointerover", (event) => options.on("hover", found(event)));
  list.addEventListener("pointerleave", () => options.on("leave"));
  list.addEventListener("click", (event) => options.on("keep", found(event)));
  list.addEventListener("focus", () => options.on("axis", { axis }));
  list.own = (index) => {
    list.tokens[list.chosen]?.classList.remove("own");
    list.tokens[list.chosen]?.setAttribute("aria-selected", "false");
    list.chosen = index;
    list.tokens[index]?.classList.add("own");
    list.tokens[index]?.setAttribute("aria-selected", "true");
    if (list.tokens[index]) list.setAttribute("aria-activedescendant", prefix + index);
    else list.removeAttribute("aria-activedescendant");
  };
  return list;
}

class WordsFigure {
  constructor(source, at, options) {
    const { rows, columns } = source.about;
    Object.assign(this, { source, at, options });
    this.shaded = [];
    this.marked = [];
    this.lists = [
      tokenList("row", rows, "Attends", options),
      tokenList("column", columns, "Is attended to", options),
    ];
    this.element = html("div", { className: "words" });
    this.lists.forEach((list, side) => {
      const title = html("h3", { textContent: side ? "to" : "from" });
      this.element.append(html("div", {}, title, list));
    });
  }

  show(focus) {
    const { source } = this;
    const { byRow, others, values, top } = focused(this, focus);
    for (const token of this.shaded) token.style.backgroundColor = token.style.color = "";
    this.shaded = [];
    for (const token of this.marked) token.classList.remove("marked");
    const marks = [...marksOf(source.about, focus).keys()];
    this.marked = marks.map((column) => this.lists[1].tokens[column]);
    for (const token of this.marked) token.classList.add("marked");
    this.lists[byRow ? 0 : 1].own(focus.index);
    this.lists[byRow ? 1 : 0].own(-1);
    const side = this.lists[byRow ? 1 : 0];
    for (let i = 0; i < others.length; i++) {
      const part = values[i] / top;
      if (Math.abs(part) < 0.01) continue;
      const token = side.tokens[others[i]],
        color = colorOf(part, source.signed);
      token.style.backgroundColor = css(color);
      token.style.color = ink(color);
      this.shaded.push(token);
    }
  }

  // The same as an SVG, with each token where the browser put it.
  toSvg() {
    const frame = this.element.getBoundingClientRect();
    const parts = [];
    for (const token of this.element.querySelectorAll("h3, [data-i]")) {
      const box = token.getBoundingClientRect(),
        style = getComputedStyle(token);
      const [x, y] = [box.left - frame.left, box.top - frame.top];
      if (token.style.backgroundColor || token.classList.contains("own")) {
        parts.push(
          svg("rect", {
            x,
            y,
            width: box.width,
            height: box.height,
            rx: 3,
            fill: token.style.backgroundColor || "none",
            stroke: token.classList.contains("own") ? "#d9480f" : "none",
          }),
        );
      }
      const label = svgLabel(token.textContent, {
        x: x + parseFloat(style.paddingLeft),
        y: y + box.height * 0.7,
        fill: style.color,
        "font-size": parseFloat(style.fontSize),
      });
      if (!this.clipped(token)) label.textContent = `\u2068${token.textContent}\u2069`;
      parts.push(label);
    }
    const [width, height] = [Math.ceil(frame.width), Math.ceil(frame.height)];
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height }, ...parts);
  }

  clipped(token) {
    return token.scrollWidth > token.clientWidth + 1 && token.textContent.length > 24;
  }
}
