/* The case viewer. Data come as calls of mbhsegViewer.index(...) and mbhsegViewer.open(...). */
"use strict";

const mbhsegViewer = (() => {
  const get = (id) => document.getElementById(id);
  const ANY = "any", CONSENSUS = "consensus", NOTHING = "";
  const ERRORS = { missed: [213, 94, 0], spurious: [86, 180, 233], confused: [240, 228, 66], right: [150, 150, 150] };
  const ERROR_NAMES = { missed: "only outlined", spurious: "only filled", confused: "another class", right: "the same" };
  const DISSENT = [230, 60, 200];
  const DOUBT = 7; // the highest level
  const CANVAS = 1024; // pixels that the longer side of the overlay has at least

  let page = null; // what index.js says
  let data = null; // what the script of the open case says
  let planes = new Map(); // "source|n" -> decoded labels of the open case
  let totals = []; // counts of the open case for the chosen pair
  let sort = { key: "id", down: false };
  const state = {
    case: null, slice: null, run: null, score: null, fill: null, outline: null,
    window: null, show: "labels", safe: false,
  }; // `score` is null and `outline` nothing where there is no reference to compare with
  const held = {}; // what `f` and `o` switched off

  // --- labels

  /** Labels of a slice, one byte per pixel, row by row; the inverse of sprites.encode_labels. */
  function decode(text, size) {
    const labels = new Uint8Array(size);
    const bytes = atob(text);
    let place = 0, value = 0, shift = 0, gap = -1;
    for (let n = 0; n < bytes.length; n += 1) {
      const byte = bytes.charCodeAt(n);
      value += (byte & 127) * 2 ** shift;
      shift += 7;
      if (byte > 127) continue;
      if (gap < 0) gap = value;
      else {
        place += gap;
        labels.fill(value % 8, place, place + Math.floor(value / 8));
        place += Math.floor(value / 8);
        gap = -1;
      }
      value = shift = 0;
    }
    return labels;
  }

  function plane(source, n) {
    const key = `${source}|${n}`;
    if (!planes.has(key)) planes.set(key, decode(data.sources[source][n], data.rows * data.columns));
    return planes.get(key);
  }

  const drawn = (source, n) => data.sources[source][n] !== "";
  const known = (source) => source !== NOTHING && source in data.sources;
  const prediction = () => `model:${state.run}`;
  const usual = () => (page.compared ? CONSENSUS : NOTHING); // outline
  const raters = () => Object.keys(data.sources).filter((name) => name.startsWith("rater"));

  /** Voxels of outlined, filled and both, per class and for any, on one slice.
      Without a reference the prediction counts as filled, also while it is not shown. */
  function count(n) {
    const counts = page.classes.map(() => [0, 0, 0]).concat([[0, 0, 0]]);
    const last = counts.length - 1;
    const [outline, fill] = page.compared ? [state.outline, state.fill] : [NOTHING, prediction()];
    const outlined = known(outline) && drawn(outline, n) ? plane(outline, n) : null;
    const filled = known(fill) && drawn(fill, n) ? plane(fill, n) : null;
    if (!outlined && !filled) return counts;
    const size = data.rows * data.columns;
    for (let i = 0; i < size; i += 1) {
      const r = outlined ? outlined[i] : 0, c = filled ? filled[i] : 0;
      if (r) { counts[r - 1][0] += 1; counts[last][0] += 1; }
      if (c) { counts[c - 1][1] += 1; counts[last][1] += 1; }
      if (r && c) { counts[last][2] += 1; if (r === c) counts[r - 1][2] += 1; }
    }
    return counts;
  }

  const dice = ([r, c, both]) => (r + c ? (2 * both) / (r + c) : null);
  const shown = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));

  // --- drawing

  const colour = (label) => page.classes[label - 1][state.safe ? "safe" : "rgb"];

  function drawPicture() {
    const n = position(), down = Math.ceil(data.planes.length / data.across);
    const at = (k, count) => (count > 1 ? `${(100 * k) / (count - 1)}%` : "0%");
    const picture = get("picture").style;
    picture.backgroundSize = `${100 * data.across}% ${100 * down}%`;
    picture.backgroundPosition = `${at(n % data.across, data.across)} ${at(Math.floor(n / data.across), down)}`;
  }

  /** The window as a table from the sprite's tone to grey. */
  function drawWindow() {
    const { level, width } = page.windows.find((w) => w.name === state.window);
    const { hu, grey } = page.tone;
    const table = [];
    for (let tone = 0; tone < 256; tone += 1) {
      let k = 0;
      while (k < grey.length - 2 && tone > grey[k + 1]) k += 1;
      const value = hu[k] + ((tone - grey[k]) / (grey[k + 1] - grey[k])) * (hu[k + 1] - hu[k]);
      table.push(Math.min(1, Math.max(0, (value - level) / width + 0.5)).toFixed(4));
    }
    for (const part of document.querySelectorAll("#tone feComponentTransfer > *")) part.setAttribute("tableValues", table.join(" "));
  }

  function paint(pixels, i, [r, g, b], alpha) {
    pixels[4 * i] = r; pixels[4 * i + 1] = g; pixels[4 * i + 2] = b; pixels[4 * i + 3] = 255 * alpha;
  }

  const paintings = {
    labels(pixels, n) {
      if (!known(state.fill)) return;
      plane(state.fill, n).forEach((label, i) => { if (label) paint(pixels, i, colour(label), 0.45); });
    },
    errors(pixels, n) {
      if (!known(state.fill) || !known(state.outline)) return;
      const filled = plane(state.fill, n);
      plane(state.outline, n).forEach((r, i) => {
        const c = filled[i];
        if (!r && !c) return;
        const kind = r === c ? "right" : !c ? "missed" : !r ? "spurious" : "confused";
        paint(pixels, i, ERRORS[kind], kind === "right" ? 0.35 : 0.75);
      });
    },
    raters(pixels, n) {
      const all = raters().map((name) => plane(name, n));
      for (let i = 0; i < data.rows * data.columns; i += 1) {
        if (!all.some((labels) => labels[i])) continue;
        const votes = new Array(8).fill(0);
        for (const labels of all) votes[labels[i]] += 1;
        const dissent = 1 - Math.max(...votes) / all.length;
        if (dissent > 0) paint(pixels, i, DISSENT, 0.25 + dissent);
        else paint(pixels, i, ERRORS.right, 0.3);
      }
    },
    doubt(pixels, n) {
      if (!data.doubt) return;
      decode(data.doubt[n], data.rows * data.columns).forEach((level, i) => { if (level) paint(pixels, i, DISSENT, (0.8 * level) / DOUBT); });
    },
  };

  function drawOverlay() {
    const n = position(), { rows, columns } = data;
    const factor = Math.max(1, Math.ceil(CANVAS / Math.max(rows, columns)));
    const canvas = get("overlay");
    canvas.width = columns * factor;
    canvas.height = rows * factor;
    const context = canvas.getContext("2d");
    const small = document.createElement("canvas");
    small.width = columns;
    small.height = rows;
    const image = new ImageData(columns, rows);
    paintings[state.show](image.data, n);
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (state.show !== "raters" && known(state.outline)) rim(context, plane(state.outline, n), factor);
  }

  /** Strips along the inner edges of every region, so that neighbours keep theirs apart. */
  function rim(context, labels, factor) {
    const { rows, columns } = data, thick = Math.max(1, Math.round(CANVAS / 400));
    const w = Math.min(thick, factor);
    for (let y = 0; y < rows; y += 1) {
      for (let x = 0; x < columns; x += 1) {
        const label = labels[y * columns + x];
        if (!label) continue;
        context.fillStyle = state.show === "errors" ? "#fff" : `rgb(${colour(label).join()})`;
        const left = x * factor, top = y * factor;
        if (x === 0 || labels[y * columns + x - 1] !== label) context.fillRect(left, top, w, factor);
        if (x === columns - 1 || labels[y * columns + x + 1] !== label) context.fillRect(left + factor - w, top, w, factor);
        if (y === 0 || labels[(y - 1) * columns + x] !== label) context.fillRect(left, top, factor, w);
        if (y === rows - 1 || labels[(y + 1) * columns + x] !== label) context.fillRect(left, top + factor - w, factor, w);
      }
    }
  }

  /** Next to the picture: labelled voxels per slice, outlined to the left and filled to the right. */
  function drawProfile() {
    const canvas = get("profile"), box = canvas.getBoundingClientRect();
    if (!box.width) return;
    canvas.width = box.width * devicePixelRatio;
    canvas.height = box.height * devicePixelRatio;
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const height = canvas.height / data.planes.length, middle = page.compared ? canvas.width / 2 : 0;
    const most = Math.max(1, ...totals.map((t) => Math.max(t[t.length - 1][0], t[t.length - 1][1])));
    totals.forEach((counts, n) => {
      const [r, c] = counts[counts.length - 1], top = canvas.height - (n + 1) * height;
      const long = (k) => (k ? Math.max(2, (Math.sqrt(k / most)) * (canvas.width - middle - 1)) : 0);
      context.fillStyle = style.getPropertyValue("--soft");
      context.fillRect(middle - long(r), top, long(r), Math.max(1, height - 1));
      context.fillStyle = style.getPropertyValue("--link");
      context.fillRect(middle, top, long(c), Math.max(1, height - 1));
    });
    context.strokeStyle = style.getPropertyValue("--focus");
    context.lineWidth = 2 * devicePixelRatio;
    context.strokeRect(1, canvas.height - (position() + 1) * height, canvas.width - 2, height);
  }

  function drawLegend() {
    const entries = state.show === "labels" ? page.classes.map((c) => [colour(c.label), `${c.key} ${c.name}`])
      : state.show === "errors" ? Object.keys(ERRORS).map((kind) => [ERRORS[kind], ERROR_NAMES[kind]])
        : state.show === "doubt" ? [[DISSENT, "the model is uncertain: stronger means more"]]
          : [[DISSENT, "raters disagree: stronger means more"], [ERRORS.right, "raters agree"]];
    get("legend").replaceChildren(...entries.map(([rgb, text]) => element("li", {}, swatch(rgb), text)));
  }

  // --- tables

  function element(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  function swatch(rgb) {
    const node = element("span", { class: "swatch" });
    node.style.background = `rgb(${rgb.join()})`;
    return node;
  }

  function drawScores() {
    const here = totals[position()], ml = (voxels) => (data.voxelMl === null ? shown(null) : shown(voxels * data.voxelMl, 2));
    const { measures } = entryOf(data.id);
    /** The row of a class where there is no reference. */
    const measured = (c, k) => {
      const { ml: whole, mean, low } = measures[c.key];
      return [shown(whole, 2), ml(here[k][1]), shown(mean, 2) + (low ? " ▼ low" : "")];
    };
    const rows = [...page.classes, { key: ANY, name: "any hemorrhage", label: 0 }].map((c, k) => {
      const whole = [0, 1, 2].map((j) => totals.reduce((sum, counts) => sum + counts[k][j], 0));
      const name = element("abbr", { title: c.name }, c.key);
      return element("tr", {},
        element("th", { scope: "row", class: "key" }, ...(c.label ? [swatch(colour(c.label))] : []), name),
        ...(page.compared ? [shown(dice(whole)), shown(dice(here[k])), ml(whole[0]), ml(whole[1])] : measured(c, k)).map((text) => element("td", { class: "num" }, text)));
    });
    document.querySelector("#scores tbody").replaceChildren(...rows);
  }

  const columns = () => [
    ["id", "case"], ["mean", "mean"], ...page.classes.map((c) => [c.key, c.key]), [ANY, ANY], ["slices", "slices"], ["raters", "raters"],
  ];
  const values = (entry) => (entry.scores[state.run] || {})[state.score] || {};
  const cell = (entry, key) => (key in entry ? entry[key] : (values(entry)[key] ?? null));

  function sorted() {
    const sign = sort.down ? -1 : 1;
    return [...page.cases].sort((a, b) => {
      const x = cell(a, sort.key), y = cell(b, sort.key);
      if (x === y) return a.id < b.id ? -1 : 1;
      if (x === null) return 1; // no value: last, either way
      if (y === null) return -1;
      return (x < y ? -1 : 1) * sign;
    });
  }

  function drawCases() {
    if (!get("cases")) return; // the page has a table of its own
    document.querySelector("#cases thead tr").replaceChildren(...columns().map(([key, name]) => {
      const button = element("button", { type: "button" }, name);
      button.addEventListener("click", () => {
        sort = { key, down: sort.key === key ? !sort.down : key !== "id" };
        drawCases();
        document.querySelectorAll("#cases thead button")[columns().findIndex(([k]) => k === key)].focus();
      });
      const order = sort.key === key ? (sort.down ? "descending" : "ascending") : null;
      return element("th", { scope: "col", class: key === "id" ? null : "num", "aria-sort": order }, button);
    }));
    const { digits } = page.scores.find((score) => score.key === state.score);
    document.querySelector("#cases tbody").replaceChildren(...sorted().map((entry) => {
      const link = element("a", { href: `#${new URLSearchParams({ case: entry.id })}` }, entry.id);
      return element("tr", { "aria-current": entry.id === state.case ? "true" : null },
        element("th", { scope: "row", class: "id" }, link),
        ...columns().slice(1).map(([key]) => {
          const value = cell(entry, key);
          return element("td", { class: "num" }, key in entry ? String(value) : shown(value, digits));
        }));
    }));
  }

  // --- state

  const position = () => Math.max(0, data.planes.indexOf(state.slice));
  const runOf = (entry) => (state.run in entry.scores ? state.run : Object.keys(entry.scores)[0]);

  /** Show a value in a field, if the page has it. */
  function put(id, value) {
    if (get(id)) get(id).value = value;
  }

  function options(id, entries, value) {
    if (!get(id)) return;
    get(id).replaceChildren(...entries.map(([key, text]) => element("option", { value: key }, text)));
    get(id).value = value;
  }

  function sources() {
    const model = (key) => (page.compared ? `prediction of ${key.slice(6)}` : "prediction");
    const name = (key) => (key.startsWith("model:") ? model(key) : key.startsWith("rater") ? `rater ${key.slice(5)}` : key);
    const order = Object.keys(data.sources).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    return [[NOTHING, "nothing"], ...order.map((key) => [key, name(key)])];
  }
  const rank = (key) => (key.startsWith("model:") ? 0 : key === CONSENSUS ? 1 : 2);

  /** The slice with the most filled and outlined voxels. */
  function busiest() {
    const sum = (counts) => counts[counts.length - 1][0] + counts[counts.length - 1][1];
    const most = Math.max(...totals.map(sum));
    return most ? data.planes[totals.findIndex((counts) => sum(counts) === most)] : data.planes[Math.floor(data.planes.length / 2)];
  }

  function recount() {
    totals = data.planes.map((_, n) => count(n));
  }

  function link() {
    const values = { ...state, safe: state.safe ? "1" : null };
    const pairs = Object.entries(values).filter(([, value]) => value !== null);
    history.replaceState(null, "", `#${new URLSearchParams(pairs)}`);
  }

  function redraw() {
    const n = position(), count = data.planes.length;
    drawPicture();
    drawOverlay();
    drawProfile();
    drawScores();
    drawLegend();
    const text = `slice ${state.slice} (${n + 1} of ${count})`;
    get("place").textContent = text;
    get("slider").max = String(count - 1);
    get("slider").value = String(n);
    get("slider").setAttribute("aria-valuetext", text);
    for (const [key, value] of [["max", count - 1], ["now", n], ["text", text]]) get("stage").setAttribute(`aria-value${key}`, value);
    link();
  }

  function go(n) {
    if (!data) return;
    state.slice = data.planes[Math.min(data.planes.length - 1, Math.max(0, n))];
    redraw();
  }

  function set(key, value) {
    state[key] = value;
    if (!data) return;
    if (key === "fill" || key === "outline") recount();
    if (key === "window") drawWindow();
    redraw();
  }

  function toggle(key) {
    const off = state[key] === NOTHING;
    if (!off) held[key] = state[key];
    set(key, off ? held[key] ?? (key === "fill" || !page.compared ? prediction() : CONSENSUS) : NOTHING);
    put(key, state[key]);
  }

  function choose(list, key, id) {
    set(key, list[(list.indexOf(state[key]) + 1) % list.length]);
    put(id, state[key]);
  }

  // --- cases

  function entryOf(id) {
    return page.cases.find((entry) => entry.id === id);
  }

  function load(id) {
    const entry = entryOf(id);
    if (!entry) {
      say(`There is no case ${id} in this report.`);
      return;
    }
    say(`Loading ${id}`);
    const script = element("script", { src: entry.script });
    script.addEventListener("load", () => script.remove());
    script.addEventListener("error", () => { say(`${entry.script} cannot be read.`); script.remove(); });
    document.body.append(script);
  }

  /** Called by the script of a case. */
  function open(loaded) {
    if (loaded.id !== state.case) return; // another case was chosen meanwhile
    data = loaded;
    planes = new Map();
    const entry = entryOf(data.id);
    if (!(state.fill in data.sources) && state.fill !== NOTHING) state.fill = `model:${runOf(entry)}`;
    if (!(state.outline in data.sources) && state.outline !== NOTHING) state.outline = usual();
    recount();
    if (!data.planes.includes(state.slice)) state.slice = busiest();
    get("case-title").textContent = data.id;
    document.querySelectorAll(".side").forEach((side, n) => { side.textContent = data.sides[n]; });
    get("stage").style.aspectRatio = String(data.aspect);
    get("picture").style.backgroundImage = `url("${entry.sprite}")`;
    options("fill", sources(), state.fill);
    options("outline", sources(), state.outline);
    document.title = `${data.id}, case viewer`;
    drawWindow();
    drawCases();
    redraw();
    say("");
    document.dispatchEvent(new CustomEvent("case", { detail: data.id }));
  }

  /** Ids of the cases as the page's table lists them now. */
  function listed() {
    const rows = document.querySelectorAll("tr[data-case]:not([hidden])"); // of a table of its own
    const ids = new Set([...rows].map((row) => row.dataset.case).filter(entryOf));
    return ids.size ? [...ids] : sorted().map((entry) => entry.id);
  }

  function step(by) {
    const order = listed();
    const n = (order.indexOf(state.case) + by + order.length) % order.length;
    location.hash = new URLSearchParams({ case: order[n] });
  }

  const say = (text) => { get("status").textContent = text; };

  /** Take the state from the address; what it does not name stays. */
  function read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const before = state.case;
    const allowed = {
      run: page.runs, score: page.scores.map((score) => score.key), window: page.windows.map((w) => w.name), show: page.maps,
    };
    for (const key of ["fill", "outline"]) if (asked.has(key)) state[key] = asked.get(key);
    for (const [key, values] of Object.entries(allowed)) if (values.includes(asked.get(key))) state[key] = asked.get(key);
    if (asked.has("safe")) state.safe = asked.get("safe") === "1";
    if (asked.has("case")) state.case = asked.get("case");
    state.case = state.case ?? sorted()[0].id;
    if (asked.has("slice")) state.slice = Number(asked.get("slice"));
    else if (state.case !== before) state.slice = null;
    state.fill = state.fill ?? prediction();
    state.outline = state.outline ?? usual();
    for (const key of ["window", "show", "run", "score"]) put(key, state[key]);
    get("safe").checked = state.safe;
    drawCases();
    if (state.case !== before || !data) load(state.case);
    else {
      recount();
      options("fill", sources(), state.fill);
      options("outline", sources(), state.outline);
      drawWindow();
      if (!data.planes.includes(state.slice)) state.slice = busiest();
      redraw();
    }
  }

  // --- input

  const KEYS = {
    ArrowUp: () => go(position() + 1), ArrowRight: () => go(position() + 1),
    ArrowDown: () => go(position() - 1), ArrowLeft: () => go(position() - 1),
    PageUp: () => go(position() + 5), PageDown: () => go(position() - 5),
    Home: () => go(0), End: () => go(data.planes.length - 1),
    w: () => choose(page.windows.map((w) => w.name), "window", "window"),
    m: () => choose(page.maps, "show", "show"),
    f: () => toggle("fill"), o: () => toggle("outline"),
    c: () => { get("safe").checked = !state.safe; set("safe", !state.safe); },
    n: () => step(1), b: () => step(-1),
  };

  function listen() {
    const stage = get("stage");
    let turned = 0;
    stage.addEventListener("wheel", (event) => {
      if (event.ctrlKey || !data) return; // the browser's own zoom
      event.preventDefault();
      turned += event.deltaMode === 0 ? event.deltaY / 40 : event.deltaY;
      const steps = Math.trunc(turned);
      turned -= steps;
      if (steps) go(position() - steps);
    }, { passive: false });
    stage.addEventListener("keydown", (event) => {
      const act = KEYS[event.key];
      if (!act || !data || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    get("profile").addEventListener("click", (event) => {
      const box = event.target.getBoundingClientRect();
      go(Math.floor((1 - (event.clientY - box.top) / box.height) * data.planes.length));
    });
    get("slider").addEventListener("input", (event) => go(Number(event.target.value)));
    get("previous").addEventListener("click", () => go(position() - 1));
    get("next").addEventListener("click", () => go(position() + 1));
    for (const key of ["fill", "outline", "window", "show"]) get(key)?.addEventListener("change", (event) => set(key, event.target.value));
    get("safe").addEventListener("change", (event) => set("safe", event.target.checked));
    get("run")?.addEventListener("change", (event) => {
      state.run = event.target.value;
      drawCases();
      if (data && prediction() in data.sources) {
        put("fill", prediction());
        set("fill", prediction());
      }
    });
    get("score")?.addEventListener("change", (event) => { state.score = event.target.value; drawCases(); if (data) link(); });
    addEventListener("hashchange", read);
    addEventListener("resize", () => { if (data) drawProfile(); });
  }

  /** Called by index.js. */
  function index(loaded) {
    page = loaded;
    state.run = page.runs[0];
    state.window = page.windows[0].name;
    state.score = page.scores[0]?.key ?? null;
    options("score", page.scores.map((score) => [score.key, score.name]), state.score);
    options("run", page.runs.map((run) => [run, run]), state.run);
    options("window", page.windows.map((w) => [w.name, `${w.name}, ${w.level}/${w.width} HU`]), state.window);
    listen();
    read();
  }

  return { index, open };
})();
