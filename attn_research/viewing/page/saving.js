// The figure as a file: an SVG of its own, or a PNG of twice its size.

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";

// All panels beside each other, on the ground of the page, with their titles.
function savedSvg(panels) {
  const space = 24;
  let x = 16,
    height = 0;
  const parts = panels.map(({ title, figure }) => {
    const copy = figure.toSvg ? figure.toSvg() : figure.element.cloneNode(true);
    const width = Number(copy.getAttribute("width"));
    copy.setAttribute("x", x);
    copy.setAttribute("y", 40);
    for (const box of copy.querySelectorAll(".chosen")) {
      box.setAttribute("fill", "none");
      box.setAttribute("stroke", "#d9480f");
    }
    const name = svg("text", {
      x,
      y: 26,
      "font-size": 14,
      "font-weight": 600,
      fill: "currentColor",
    });
    name.textContent = title;
    x += width + space;
    height = Math.max(height, Number(copy.getAttribute("height")));
    return [name, copy];
  });
  const size = { width: x, height: height + 56 };
  const style = getComputedStyle(document.body);
  return svg(
    "svg",
    {
      ...size,
      viewBox: `0 0 ${size.width} ${size.height}`,
      color: style.color,
      "font-family": FONT,
    },
    svg("rect", { ...size, fill: style.backgroundColor }),
    ...parts.flat(),
  );
}

function svgText(element) {
  return new XMLSerializer().serializeToString(element);
}

async function pngOf(element) {
  const text = svgText(element);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = html("canvas", { width: 2 * image.width, height: 2 * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function download(blob, name) {
  const link = html("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
