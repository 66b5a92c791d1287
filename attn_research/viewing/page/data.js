// Weights by layer and head, as the page keeps them: of each row of a head the columns above a
// bound, with values in steps of scale / steps. All others lie between 0 and the bound.

async function inflate(text) {
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// What figures read: `about` has labels, layers and heads; a subclass gives `row` and `cell`.
class Source {
  constructor(about) {
    this.about = about;
    this.signed = false;
    this.known = new Map();
  }

  // The weights on one column: {rows, values}.
  column(at, column) {
    const rows = [],
      values = [];
    for (let row = 0; row < this.about.rows.length; row++) {
      const found = this.cell(at, row, column);
      if (found.kept) {
        rows.push(row);
        values.push(found.value);
      }
    }
    return { rows, values };
  }

  // The largest weight of a head, by its size.
  largest(at) {
    const key = `${at.layer} ${at.head}`;
    if (!this.known.has(key)) {
      let most = 0;
      for (let row = 0; row < this.about.rows.length; row++) {
        most = Math.max(most, this.largestOf(at, row));
      }
      this.known.set(key, most);
    }
    return this.known.get(key);
  }

  largestOf(at, row) {
    return this.row(at, row).values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  }
}

class Weights extends Source {
  static async read(about) {
    const bytes = await inflate(about.data);
    about.data = "";
    return new Weights(about, bytes);
  }

  constructor(about, bytes) {
    super(about);
    let place = 0;
    const take = (count) => {
      const low = bytes.subarray(place, place + count);
      const high = bytes.subarray(place + count, place + 2 * count);
      const found = new Uint16Array(count);
      for (let i = 0; i < count; i++) found[i] = low[i] | (high[i] << 8);
      place += 2 * count;
      return found;
    };
    const rows = about.layers.length * about.heads.length * about.rows.length;
    const counts = take(rows);
    this.starts = new Uint32Array(rows + 1);
    for (let i = 0; i < rows; i++) this.starts[i + 1] = this.starts[i] + counts[i];
    this.columns = take(this.starts[rows]);
    for (let i = 0; i < rows; i++) {
      for (let j = this.starts[i] + 1; j < this.starts[i + 1]; j++) {
        this.columns[j] += this.columns[j - 1];
      }
    }
    this.values = take(this.starts[rows]);
  }

  place(at, row) {
    const heads = this.about.heads.length;
    return (at.layer * heads + at.head) * this.about.rows.length + row;
  }

  largestOf(at, row) {
    const place = this.place(at, row);
    let most = 0;
    for (let i = this.starts[place]; i < this.starts[place + 1]; i++) {
      most = Math.max(most, this.values[i]);
    }
    return (most * this.about.scale) / this.about.steps;
  }

  // The kept columns of a row, in order, and their weights.
  row(at, row) {
    const place = this.place(at, row);
    const start = this.starts[place],
      end = this.starts[place + 1];
    const values = Float32Array.from(this.values.subarray(start, end));
    const step = this.about.scale / this.about.steps;
    for (let i = 0; i < values.length; i++) values[i] *= step;
    return { columns: this.columns.subarray(start, end), values };
  }

  // One weight, which is exact within `error`.
  cell(at, row, column) {
    const place = this.place(at, row);
    let low = this.starts[place],
      high = this.starts[place + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.columns[middle] < column) low = middle + 1;
      else high = middle;
    }
    const half = this.about.scale / this.about.steps / 2;
    if (low < this.starts[place + 1] && this.columns[low] === column) {
      return { value: 2 * half * this.values[low], error: half, kept: true };
    }
    return { value: this.about.bound / 2, error: this.about.bound / 2, kept: false };
  }
}

// The second of two sources minus the first.
class Difference extends Source {
  constructor(first, second) {
    super(first.about);
    this.both = [first, second];
    this.signed = true;
  }

  static exists(first, second) {
    const same = (name) => {
      const a = first.about[name],
        b = second.about[name];
      return a.length === b.length && a.every((each, i) => each === b[i]);
    };
    return ["layers", "heads", "rows", "columns"].every(same);
  }

  row(at, row) {
    const [first, second] = this.both.map((each) => each.row(at, row));
    const columns = [],
      values = [];
    let i = 0,
      j = 0;
    while (i < first.columns.length || j < second.columns.length) {
      const a = i < first.columns.length ? first.columns[i] : Infinity;
      const b = j < second.columns.length ? second.columns[j] : Infinity;
      columns.push(Math.min(a, b));
      values.push((b <= a ? second.values[j] : 0) - (a <= b ? first.values[i] : 0));
      if (a <= b) i++;
      if (b <= a) j++;
    }
    return { columns, values };
  }

  cell(at, row, column) {
    const [first, second] = this.both.map((each) => each.cell(at, row, column));
    const kept = first.kept || second.kept;
    return { value: second.value - first.value, error: first.error + second.error, kept };
  }
}

// Text as it is shown: white space and control characters, which are in no XML, are made visible.
function visible(text) {
  if (text === "") return "∅";
  const shown = text
    .replace(/\n/g, "↵")
    .replace(/\t/g, "⇥")
    .replace(/[\0-\x1f]/g, (found) => String.fromCharCode(0x2400 + found.charCodeAt(0)))
    .replace(/\p{Surrogate}|[\ufffe\uffff]/gu, "\ufffd");
  return /^\s+$/.test(shown) ? "␣".repeat(shown.length) : shown;
}

// The names of the marks on a row, by column.
function marksOf(about, focus) {
  const own = focus.axis === "row" ? about.marks.filter(([row]) => row === focus.index) : [];
  return new Map(own.map(([, column, name]) => [column, name]));
}

// The beginning of a long text; no character of two halves is cut.
function shorten(text, most = 24) {
  const start = Array.from(visible(text.slice(0, 4 * most)));
  return start.length > most || text.length > 4 * most
    ? start.slice(0, most - 1).join("") + "…"
    : start.join("");
}

function number(value) {
  return value.toFixed(4).replace("-", "−");
}
