// The explorer: one chart of the chosen task, shots and models, a slider over checkpoints, the same numbers as a table.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("explore-data").textContent);
  const part = (name) => document.getElementById("explore-" + name);
  const SPACE = { width: 860, height: 420, left: 46, right: 96, top: 14, bottom: 42 };
  const ZERO_GAP = 0.55; // decades between step 0 and the first trained checkpoint
  const chosen = { source: 0, task: null, shots: null, step: null, hidden: new Set() };

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
  const short = (value) => value.toFixed(3).replace(/^(-?)0\./, "$1.");
  const source = () => data.sources[chosen.source];
  const unique = (values) => [...new Set(values)];
  const panel = () => source().panels.find((p) => p.name === chosen.task && p.shots === chosen.shots);
  const lines = () => panel().lines.filter((line) => !chosen.hidden.has(line.model));
  const steps = () => unique(panel().lines.flatMap((line) => line.points.map((p) => p[0]))).sort((a, b) => a - b);

  const fill = (select, names, at) => {
    select.replaceChildren(...names.map((name) => new Option(name, name, name === at, name === at)));
    select.disabled = names.length < 2;
  };

  const scales = () => {
    const points = (lines().length ? lines() : panel().lines).flatMap((line) => line.points);
    const seen = points.map((p) => p[1]).filter((tokens) => tokens > 0);
    const first = Math.log10(Math.min(...seen)), last = Math.log10(Math.max(...seen));
    const zero = points.some((p) => p[1] === 0), left = zero ? first - ZERO_GAP : first;
    const values = points.map((p) => p[2]).concat(panel().chance ?? []);
    const low = Math.min(...values), high = Math.max(...values), margin = 0.06 * (high - low || 1);
    const inner = { w: SPACE.width - SPACE.left - SPACE.right, h: SPACE.height - SPACE.top - SPACE.bottom };
    return {
      first, last, zero, low: low - margin, high: high + margin,
      x: (tokens) => SPACE.left + inner.w * ((tokens > 0 ? Math.log10(tokens) : left) - left) / (last - left || 1),
      y: (value) => SPACE.top + inner.h * (1 - (value - low + margin) / (high - low + 2 * margin)),
    };
  };

  const axes = (svg, at) => {
    const bottom = SPACE.height - SPACE.bottom;
    const size = (at.high - at.low) / 7, unit = 10 ** Math.floor(Math.log10(size));
    const gap = unit * [1, 2, 5, 10].find((n) => n * unit >= size);
    for (let value = Math.ceil(at.low / gap) * gap; value <= at.high; value += gap) {
      make("line", { x1: SPACE.left, x2: SPACE.width - SPACE.right, y1: at.y(value), y2: at.y(value), stroke: "#e4e7eb" }, svg);
      make("text", { x: SPACE.left - 6, y: at.y(value) + 4, "text-anchor": "end" }, svg, short(value));
    }
    make("line", { x1: SPACE.left, x2: SPACE.width - SPACE.right, y1: bottom, y2: bottom, stroke: "#6a737d" }, svg);
    const ticks = [];
    for (let power = Math.ceil(at.first); power <= at.last; power += 1) ticks.push(10 ** power);
    if (at.zero) ticks.unshift(0);
    for (const tokens of ticks) make("text", { x: at.x(tokens), y: bottom + 16, "text-anchor": "middle" }, svg, amount(tokens));
    if (at.zero) make("text", { x: (at.x(0) + at.x(10 ** at.first)) / 2, y: bottom + 5, "text-anchor": "middle" }, svg, "//");
    make("text", { x: (SPACE.left + SPACE.width - SPACE.right) / 2, y: SPACE.height - 6, "text-anchor": "middle" }, svg, "training tokens");
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
    ? make("path", { d: `M${x} ${y - r - 2}l${r + 2} ${r + 2}l${-r - 2} ${r + 2}l${-r - 2} ${-r - 2}z`, fill, stroke: "#1f2328" }, svg)
    : make("circle", { cx: x, cy: y, r, fill, stroke }, svg);

  const draw = () => {
    const svg = part("chart"), at = scales();
    svg.replaceChildren();
    make("title", {}, svg, `${panel().title}, ${source().name}: one line per model over training tokens`);
    axes(svg, at);
    if (panel().chance) {
      make("line", { x1: SPACE.left, x2: SPACE.width - SPACE.right, y1: at.y(panel().chance), y2: at.y(panel().chance), stroke: "#6a737d", "stroke-dasharray": "1 4" }, svg);
    }
    const now = chosen.step, ends = [];
    for (const line of lines()) {
      const colour = source().colours[line.size];
      const path = line.points.map((p) => `${at.x(p[1]).toFixed(1)},${at.y(p[2]).toFixed(1)}`).join(" ");
      if (!line.ours) make("polyline", { points: path, fill: "none", stroke: colour, "stroke-width": 1.8, "stroke-dasharray": line.data === "standard" ? "" : "6 3" }, svg);
      for (const p of line.points) {
        const dot = mark(line, at.x(p[1]), at.y(p[2]), p[0] === now ? 5 : 3, data.words[p[6]].includes("identical-to-other-data") ? "#fff" : colour, colour, svg);
        make("title", {}, dot, words(line, p));
        dot.addEventListener("mouseenter", () => { part("point").textContent = words(line, p); });
      }
      if (line.ours) continue;
      const last = line.points[line.points.length - 1];
      ends.push({ y: at.y(last[2]), x: at.x(last[1]), colour, name: line.size + (line.data === "standard" ? "" : " d") });
    }
    spread(ends.map((end) => end.y), 11).forEach((y, index) => {
      const end = ends[index];
      make("line", { x1: end.x + 4, y1: end.y, x2: SPACE.width - SPACE.right + 18, y2: y, stroke: end.colour, "stroke-width": 0.6 }, svg);
      make("text", { x: SPACE.width - SPACE.right + 21, y: y + 4, fill: end.colour }, svg, end.name);
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
    const names = unique(source().panels.flatMap((p) => p.lines.map((line) => line.model)));
    part("models").replaceChildren(...names.map((name) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.value = name;
      box.checked = !chosen.hidden.has(name);
      box.addEventListener("change", () => { chosen.hidden[box.checked ? "delete" : "add"](name); draw(); });
      label.append(box, " ", name);
      return label;
    }));
  };
  const set_all = (shown) => {
    for (const box of part("models").querySelectorAll("input")) chosen.hidden[shown ? "delete" : "add"](box.value);
    models();
    draw();
  };

  part("source").addEventListener("change", (event) => {
    chosen.source = data.sources.findIndex((s) => s.name === event.target.value);
    models();
    choose();
  });
  part("task").addEventListener("change", (event) => { chosen.task = event.target.value; choose(); });
  part("shots").addEventListener("change", (event) => { chosen.shots = event.target.value; choose(); });
  part("step").addEventListener("input", (event) => { chosen.step = steps()[Number(event.target.value)]; draw(); });
  part("all").addEventListener("click", () => set_all(true));
  part("none").addEventListener("click", () => set_all(false));

  fill(part("source"), data.sources.map((s) => s.name), source().name);
  document.getElementById("explore").hidden = false;
  models();
  choose();
})();
