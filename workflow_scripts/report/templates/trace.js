// The box of traced texts: type to find one; its loss in each model, and a mark below for each time it was seen whole.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("trace-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour_of = (model) => (dark.matches ? model.dark : model.colour);
  const part = (name) => document.getElementById("trace-" + name);
  const SPACE = { width: 860, height: 380, left: 46, right: 110, top: 14, bottom: 42, mark: 12 };

  const make = (name, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  };
  const times = (text) => Object.values(text.seen).reduce((sum, steps) => sum + steps.length, 0);
  const logarithm = (step) => Math.log10(Math.max(step, 1)) + (step > 0 ? 0.5 : 0); // step 0 stands half a decade before 1

  const draw = (text) => {
    const svg = part("chart"), sets = [...new Set(data.models.map((model) => model.data))];
    svg.replaceChildren();
    const losses = text.losses.flat().filter((loss) => loss !== null);
    const high = Math.max(...losses), low = Math.min(0, ...losses), last = logarithm(data.steps[data.steps.length - 1]) || 1;
    const floor = SPACE.height - SPACE.bottom, bottom = floor - SPACE.mark * (sets.length + 0.5);
    const x = (step) => SPACE.left + (SPACE.width - SPACE.left - SPACE.right) * logarithm(step) / last;
    const y = (loss) => SPACE.top + (bottom - SPACE.top) * (1 - (loss - low) / (high - low || 1));
    make("title", {}, svg, `${text.name}: loss in nats per token over steps, one line per model; marks below where it was seen`);
    for (let value = Math.ceil(low); value <= high; value += Math.max(1, Math.round((high - low) / 7))) {
      make("line", { x1: SPACE.left, x2: SPACE.width - SPACE.right, y1: y(value), y2: y(value), class: "grid" }, svg);
      make("text", { x: SPACE.left - 6, y: y(value) + 4, "text-anchor": "end" }, svg, value);
    }
    make("line", { x1: SPACE.left, x2: SPACE.width - SPACE.right, y1: floor, y2: floor, class: "axis" }, svg);
    for (const step of [0, 1, 10, 100, 1000, 10000, 100000]) {
      if (step <= data.steps[data.steps.length - 1]) make("text", { x: x(step), y: floor + 16, "text-anchor": "middle" }, svg, step);
    }
    make("text", { x: (SPACE.left + SPACE.width - SPACE.right) / 2, y: SPACE.height - 6, "text-anchor": "middle" }, svg, "step");
    const middle = SPACE.height / 2;
    make("text", { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, svg, "loss, nats per token");
    data.models.forEach((model, number) => {
      const points = text.losses[number].map((loss, place) => [data.steps[place], loss]).filter((point) => point[1] !== null);
      if (!points.length) return;
      const path = points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
      make("polyline", { points: path, fill: "none", stroke: colour_of(model), "stroke-width": 1.8, "stroke-dasharray": model.data === "standard" ? "" : "6 3" }, svg);
      for (const [step, loss] of points) {
        const dot = make("circle", { cx: x(step), cy: y(loss), r: 3, fill: colour_of(model) }, svg);
        make("title", {}, dot, `${model.name}, step ${step}: ${loss} nats per token`);
      }
      make("line", { x1: SPACE.width - SPACE.right + 8, x2: SPACE.width - SPACE.right + 22, y1: SPACE.top + 6 + 14 * number, y2: SPACE.top + 6 + 14 * number, stroke: colour_of(model), "stroke-width": 3 }, svg);
      make("text", { x: SPACE.width - SPACE.right + 26, y: SPACE.top + 10 + 14 * number }, svg, model.name);
    });
    sets.forEach((name, number) => {
      const top = floor - SPACE.mark * (number + 1);
      for (const step of text.seen[name] ?? []) make("line", { x1: x(step), x2: x(step), y1: top, y2: top + SPACE.mark - 3, class: "mark" }, svg);
      make("text", { x: SPACE.width - SPACE.right + 8, y: top + 8 }, svg, `seen, ${name}`);
    });
  };

  const words = (text) => {
    const seen = Object.entries(text.seen).map(([name, steps]) => `${steps.length} times in ${name} (steps ${steps.slice(0, 8).join(", ")}${steps.length > 8 ? " ..." : ""})`);
    return `“${text.content}” ${seen.length ? "Seen whole " + seen.join("; ") + "." : "Never seen whole."}`;
  };
  const show = () => {
    const text = data.texts.find((candidate) => candidate.name === part("text").value);
    part("words").textContent = text ? words(text) : "No traced text has these words.";
    if (text) draw(text); else part("chart").replaceChildren();
  };
  const find = () => {
    const wanted = part("find").value.toLowerCase();
    const found = data.texts.filter((text) => `${text.name} ${text.domain} ${text.content}`.toLowerCase().includes(wanted));
    part("text").replaceChildren(...found.map((text) => new Option(`${text.name} (${times(text)}) ${text.content.slice(0, 60)}`, text.name)));
    show();
  };
  part("find").addEventListener("input", find);
  part("text").addEventListener("change", show);
  dark.addEventListener("change", show);
  document.getElementById("traces").hidden = false;
  find();
  const most = data.texts.reduce((best, text) => (times(text) > times(best) ? text : best), data.texts[0]);
  part("text").value = most.name;
  show();
})();
