// Thumbnails of all layers and heads, a button each.

const THUMBNAIL = 44; // pixels of a side of the canvas, at most

class HeadGrid {
  constructor(host, choose) {
    this.host = host;
    this.choose = choose;
    this.turn = 0;
  }

  // Draws the heads of a source; where there is a picture of two dimensions, of one row.
  draw(source, row, shade) {
    const { layers, heads, picture } = source.about;
    const table = html("table");
    table.append(
      html(
        "thead",
        {},
        html(
          "tr",
          {},
          html("td"),
          ...heads.map((name) => html("th", { scope: "col", textContent: name })),
        ),
      ),
    );
    const body = html("tbody"),
      jobs = [];
    const overPatches = picture && picture.grid[0] > 1;
    this.buttons = layers.map((layer, l) => {
      const line = html("tr", {}, html("th", { scope: "row", textContent: layer }));
      const buttons = heads.map((head, h) => {
        const at = { layer: l, head: h };
        const name = /^\d/.test(head) ? `head ${head}` : head;
        const button = html("button", { type: "button", tabIndex: -1, "aria-pressed": "false" });
        jobs.push(() => {
          const canvas = overPatches
            ? patchCanvas(source, at, row, "row", false)
            : headCanvas(source, at, shade, THUMBNAIL);
          // An image: browsers paint many canvases slowly.
          button.replaceChildren(html("img", { src: canvas.toDataURL(), alt: "" }));
        });
        button.setAttribute("aria-label", `layer ${layer}, ${name}`);
        button.addEventListener("click", () => this.choose(at));
        line.append(html("td", { className: /^\d/.test(head) ? "" : "derived" }, button));
        return button;
      });
      body.append(line);
      return buttons;
    });
    table.append(body);
    this.host.style.setProperty(
      "--side",
      heads.length > 16 ? "26px" : heads.length > 10 ? "34px" : "",
    );
    this.host.replaceChildren(table);
    this.finished = this.work(jobs);
  }

  // Does jobs after the next frame, a few at a time, so that the figure is not waited for.
  work(jobs) {
    const turn = ++this.turn;
    return new Promise((done) => {
      const some = () => {
        const end = performance.now() + 12;
        while (jobs.length && performance.now() < end) jobs.shift()();
        if (jobs.length && turn === this.turn) setTimeout(some);
        else done();
      };
      requestAnimationFrame(() => setTimeout(some));
    });
  }

  select(at) {
    for (const button of this.host.querySelectorAll("[aria-pressed=true]")) {
      button.setAttribute("aria-pressed", "false");
      button.tabIndex = -1;
    }
    const inside = this.host.contains(document.activeElement);
    const button = this.buttons[at.layer][at.head];
    button.setAttribute("aria-pressed", "true");
    button.tabIndex = 0;
    if (inside) button.focus({ preventScroll: true });
    const [table, box] = [this.host.getBoundingClientRect(), button.getBoundingClientRect()];
    if (box.top < table.top || box.bottom > table.bottom)
      this.host.scrollTop += box.top - table.top - 40;
  }
}
