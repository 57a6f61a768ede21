// The explorer: one chart of the chosen task, shots and models, a slider over checkpoints, the same numbers as a table.
// What is chosen stands in the page's address after #explore?, so that a view can be kept and sent.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("explore-data").textContent);
  const part = (name) => document.getElementById("explore-" + name);
  const SPACE = { left: 52, right: 84, top: 34, bottom: 42, most: 1100, least: 300 };
  const ZERO_GAP = 0.55; // decades between step 0 and the first trained checkpoint
  const Z95 = 1.96, MOST_BANDS = 8, HASH = "#explore?";
  const chosen = { source: 0, task: null, shots: null, step: null, hidden: new Set() };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  const make = (name, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  };
  const amount = (value) => {
    for (const [scale, unit] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) if (value >= scale) return Math.round(value / scale) + unit;
    return String(value);
  };
  const short = (value) => Math.abs(value) >= 1e4 ? value.toExponential(2) : value.toFixed(3).replace(/^(-?)0\./, "$1.");
  const source = () => data.sources[chosen.source];
  const colour_of = (line) => source()[dark.matches ? "dark" : "colours"][line.size];
  const unique = (values) => [...new Set(values)];
  const panel = () => source().panels.find((p) => p.name === chosen.task && p.shots === chosen.shots);
  const names = () => unique(source().panels.flatMap((p) => p.lines.map((line) => line.model)));
  const lines = () => panel().lines.filter((line) => !chosen.hidden.has(line.model));
  // At the end of a line: its size and data, or its name where they are those of another line too (seeds, variants).
  const label_of = (line) => panel().lines.some((other) => !other.ours && other !== line && other.size === line.size && other.data === line.data)
    ? line.model : line.size + (line.data === "standard" ? "" : " d");
  const steps = () => unique(panel().lines.flatMap((line) => line.points.map((p) => p[0]))).sort((a, b) => a - b);

  const fill = (select, options, at) => {
    select.replaceChildren(...options.map((name) => new Option(name, name, name === at, name === at)));
    select.disabled = options.length < 2;
  };

  const scales = () => {
    const width = Math.max(SPACE.least, Math.min(SPACE.most, part("chart").parentElement.clientWidth));
    const height = Math.round(Math.max(280, Math.min(460, width * 0.5)));
    const points = (lines().length ? lines() : panel().lines).flatMap((line) => line.points);
    const trained = points.filter((p) => p[1] > 0);
    const powers = trained.length ? trained.map((p) => Math.log10(p[1])) : [0]; // a run may have step 0 alone
    const first = Math.min(...powers), last = Math.max(...powers);
    const zero = points.some((p) => p[1] === 0), left = zero ? first - ZERO_GAP : first;
    const values = points.map((p) => p[2]).concat(panel().chance ?? []);
    const low = Math.min(...values), high = Math.max(...values), margin = 0.06 * (high - low || 1);
    const longest = Math.max(0, ...lines().filter((line) => !line.ours).map((line) => label_of(line).length));
    const beside = Math.min(width * 0.4, Math.max(SPACE.right, 26 + 6.5 * longest));
    const inner = { w: width - SPACE.left - beside, h: height - SPACE.top - SPACE.bottom };
    return {
      width, height, first, last, zero, trained: trained.length, low: low - margin, high: high + margin, right: width - beside,
      per_step: trained.length ? trained[0][1] / trained[0][0] : 1,
      x: (tokens) => SPACE.left + inner.w * ((tokens > 0 ? Math.log10(tokens) : left) - left) / (last - left || 1),
      y: (value) => SPACE.top + inner.h * (1 - (value - low + margin) / (high - low + 2 * margin)),
    };
  };

  // Decades between the ends, without those whose labels would touch the last one or each other.
  const decades = (at, scale) => {
    if (!at.trained) return [];
    const last = 10 ** at.last / scale, ticks = [];
    for (let power = Math.ceil(at.first - Math.log10(scale)); 10 ** power < last; power += 1) ticks.push(10 ** power);
    const kept = [last];
    for (const tick of ticks.reverse()) if (at.x(kept[kept.length - 1] * scale) - at.x(tick * scale) > 34) kept.push(tick);
    return kept.reverse();
  };

  const axes = (svg, at) => {
    const bottom = at.height - SPACE.bottom;
    const size = (at.high - at.low) / 7, unit = 10 ** Math.floor(Math.log10(size));
    const gap = unit * [1, 2, 5, 10].find((n) => n * unit >= size);
    for (let value = Math.ceil(at.low / gap) * gap; value <= at.high; value += gap) {
      make("line", { x1: SPACE.left, x2: at.right, y1: at.y(value), y2: at.y(value), class: "grid" }, svg);
      make("text", { x: SPACE.left - 6, y: at.y(value) + 4, "text-anchor": "end" }, svg, short(value));
    }
    make("line", { x1: SPACE.left, x2: at.right, y1: bottom, y2: bottom, class: "axis" }, svg);
    const middle = (SPACE.top + bottom) / 2;
    make("text", { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})`, class: "name" }, svg, panel().metric);
    const label = (tokens, y, text, kind) => make("text", { x: at.x(tokens), y, "text-anchor": "middle", class: kind }, svg, text);
    for (const tokens of decades(at, 1)) label(tokens, bottom + 16, amount(tokens), "");
    for (const step of decades(at, at.per_step)) label(step * at.per_step, SPACE.top - 4, amount(Math.round(step)), "faint");
    if (at.zero) {
      label(0, bottom + 16, "0", "");
      label(0, SPACE.top - 4, "0", "faint");
      make("text", { x: (at.x(0) + at.x(10 ** at.first)) / 2, y: bottom + 5, "text-anchor": "middle" }, svg, "//");
    }
    make("text", { x: (SPACE.left + at.right) / 2, y: at.height - 6, "text-anchor": "middle", class: "name" }, svg, "training tokens");
    make("text", { x: (SPACE.left + at.right) / 2, y: 11, "text-anchor": "middle", class: "name faint" }, svg, "training step");
  };

  // Places as near as possible to the wanted ones and at least `gap` apart, top to bottom.
  const spread = (wanted, gap) => {
    const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]), blocks = [];
    order.forEach((index, rank) => {
      let block = [wanted[index] - rank * gap, 1];
      while (blocks.length && blocks[blocks.length - 1][0] > block[0]) {
        const [mean, count] = blocks.pop();
        block = [(mean * count + block[0] * block[1]) / (count + block[1]), count + block[1]];
      }
      blocks.push(block);
    });
    const places = blocks.flatMap(([mean, count]) => Array(count).fill(mean)), result = [];
    order.forEach((index, rank) => { result[index] = places[rank] + rank * gap; });
    return result;
  };

  const words = (line, p) => `${line.ours ? "ours, " : ""}${line.model}, step ${p[0]} (${amount(p[1])} tokens): ${short(p[2])}` +
    (p[3] === null ? "" : ` ± ${short(p[3])}`) + (p[4] === null ? "" : `, n = ${p[4]}`) +
    `. From ${data.words[p[5]]}` + (data.words[p[6]] ? `. Notes: ${data.words[p[6]]}` : "");

  const mark = (line, x, y, r, fill, stroke, svg) => line.ours
    ? make("path", { d: `M${x} ${y - r - 2}l${r + 2} ${r + 2}l${-r - 2} ${r + 2}l${-r - 2} ${-r - 2}z`, fill, class: "ours" }, svg)
    : make("circle", { cx: x, cy: y, r, fill, stroke }, svg);

  const band = (line, at, svg) => {
    const known = line.points.filter((p) => p[3] !== null);
    const edge = (sign) => known.map((p) => `${at.x(p[1]).toFixed(1)},${at.y(Math.max(at.low, Math.min(at.high, p[2] + sign * Z95 * p[3]))).toFixed(1)}`);
    if (known.length > 1) make("polygon", { points: [...edge(1), ...edge(-1).reverse()].join(" "), fill: colour_of(line), class: "band" }, svg);
  };

  const draw = () => {
    const svg = part("chart"), at = scales();
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${at.width} ${at.height}`);
    svg.setAttribute("width", at.width);
    svg.setAttribute("height", at.height);
    make("title", {}, svg, `${panel().title}, ${source().name}: one line per model over training tokens`);
    axes(svg, at);
    if (panel().chance) {
      const y = at.y(panel().chance);
      make("line", { x1: SPACE.left, x2: at.right, y1: y, y2: y, class: "chance" }, svg);
      make("text", { x: SPACE.left + 4, y: y - 3, class: "faint" }, svg, "chance");
    }
    const now = chosen.step, ends = [], curves = lines().filter((line) => !line.ours);
    if (curves.length <= MOST_BANDS) for (const line of curves) band(line, at, svg);
    for (const line of lines()) {
      const colour = colour_of(line);
      const path = line.points.map((p) => `${at.x(p[1]).toFixed(1)},${at.y(p[2]).toFixed(1)}`).join(" ");
      if (!line.ours) make("polyline", { points: path, fill: "none", stroke: colour, "stroke-width": 1.8, "stroke-dasharray": line.data === "standard" ? "" : "6 3" }, svg);
      for (const p of line.points) {
        const is_doubtful = data.words[p[6]].includes("identical-to-other-data");
        const dot = mark(line, at.x(p[1]), at.y(p[2]), p[0] === now ? 5 : 3, is_doubtful ? "var(--card)" : colour, colour, svg);
        make("title", {}, dot, words(line, p));
        dot.addEventListener("mouseenter", () => { part("point").textContent = words(line, p); });
      }
      if (line.ours) continue;
      const last = line.points[line.points.length - 1];
      ends.push({ y: at.y(last[2]), x: at.x(last[1]), colour, name: label_of(line) });
    }
    spread(ends.map((end) => end.y), 11).forEach((y, index) => {
      const end = ends[index];
      make("line", { x1: end.x + 4, y1: end.y, x2: at.right + 18, y2: y, stroke: end.colour, "stroke-width": 0.6 }, svg);
      make("text", { x: at.right + 21, y: y + 4, style: `fill: ${end.colour}` }, svg, end.name);
    });
    table();
  };

  const table = () => {
    part("step-name").textContent = `step ${chosen.step}`;
    const rows = lines().map((line) => {
      const p = line.points.find((candidate) => candidate[0] === chosen.step);
      const row = document.createElement("tr"), head = document.createElement("th");
      head.scope = "row";
      head.textContent = line.ours ? `${line.model} (ours)` : line.model;
      row.append(head);
      for (const text of p ? [short(p[2]), p[3] === null ? "" : short(p[3]), p[4] ?? "", data.words[p[5]], data.words[p[6]]] : ["", "", "", "", "not evaluated"]) {
        row.insertCell().textContent = text;
      }
      return row;
    });
    part("rows").replaceChildren(...rows);
  };

  // The address: written after each choice of the reader, read at the start and when the reader changes it.
  const keep = () => {
    const state = new URLSearchParams({ source: source().name, task: chosen.task, shots: chosen.shots, step: chosen.step });
    const hidden = names().filter((name) => chosen.hidden.has(name));
    if (hidden.length) state.set("models", names().filter((name) => !chosen.hidden.has(name)).join(","));
    history.replaceState(null, "", HASH + state);
  };
  const restore = () => {
    if (!location.hash.startsWith(HASH)) return;
    const state = new URLSearchParams(location.hash.slice(HASH.length));
    chosen.source = Math.max(0, data.sources.findIndex((s) => s.name === state.get("source")));
    chosen.task = state.get("task");
    chosen.shots = state.get("shots");
    chosen.step = Number(state.get("step") ?? NaN);
    const shown = state.get("models")?.split(",") ?? names(), none = shown.join() === "";
    const known = names().some((name) => shown.includes(name));
    chosen.hidden = new Set(names().filter((name) => (known || none) && !shown.includes(name)));
    part("chart").closest("section").scrollIntoView();
  };

  const keep_step = () => {
    const known = steps(), slider = part("step");
    slider.max = known.length - 1;
    const at = known.includes(chosen.step) ? known.indexOf(chosen.step) : known.length - 1;
    slider.value = at;
    chosen.step = known[at];
  };
  const show = () => { keep_step(); part("point").textContent = "Point at a dot, or move the slider, to see where a number comes from."; draw(); };

  // Keeps the task and shots where the new source has them.
  const choose = () => {
    const tasks = unique(source().panels.map((p) => p.name));
    if (!tasks.includes(chosen.task)) chosen.task = tasks[0];
    const shots = unique(source().panels.filter((p) => p.name === chosen.task).map((p) => p.shots));
    if (!shots.includes(chosen.shots)) chosen.shots = shots[0];
    fill(part("task"), tasks, chosen.task);
    fill(part("shots"), shots, chosen.shots);
    show();
  };

  const models = () => {
    part("models").replaceChildren(...names().map((name) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.value = name;
      box.checked = !chosen.hidden.has(name);
      box.addEventListener("change", () => { chosen.hidden[box.checked ? "delete" : "add"](name); draw(); keep(); });
      label.append(box, " ", name);
      return label;
    }));
  };
  const set_all = (shown) => {
    for (const box of part("models").querySelectorAll("input")) chosen.hidden[shown ? "delete" : "add"](box.value);
    models();
    draw();
    keep();
  };

  part("source").addEventListener("change", (event) => {
    chosen.source = data.sources.findIndex((s) => s.name === event.target.value);
    models();
    choose();
    keep();
  });
  part("task").addEventListener("change", (event) => { chosen.task = event.target.value; choose(); keep(); });
  part("shots").addEventListener("change", (event) => { chosen.shots = event.target.value; choose(); keep(); });
  part("step").addEventListener("input", (event) => { chosen.step = steps()[Number(event.target.value)]; draw(); keep(); });
  part("all").addEventListener("click", () => set_all(true));
  part("none").addEventListener("click", () => set_all(false));
  window.addEventListener("resize", draw);
  dark.addEventListener("change", draw);

  document.getElementById("explore").hidden = false;
  const start = () => {
    restore();
    fill(part("source"), data.sources.map((s) => s.name), source().name);
    models();
    choose();
  };
  window.addEventListener("hashchange", start); // an address that is pasted into the open page
  start();
})();
