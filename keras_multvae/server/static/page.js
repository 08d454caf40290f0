// The page of the local server: what is picked goes there, recommendations come back.

const by = (id) => document.getElementById(id);
const search = by("search");
const found = by("found");
const pickedList = by("picked");
const results = by("results");
const niche = by("niche");

const picked = new Map(); // title by id, in the order of picking
let options = []; // what the search found
let active = -1; // which of them the arrow keys stand on

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const minus = (text) => text.replace("-", "\u2212");
const number = (value) => minus(value.toFixed(2));
const signed = (value) => (value < 0 ? "" : "+") + number(value);
const titles = (count) =>
  `${count.toLocaleString("en")} ${count === 1 ? "title" : "titles"}`;

// Asks the server. Of several questions of a kind only the last one's answer counts.
const asked = {};
async function ask(kind, path, body) {
  asked[kind]?.abort();
  const own = (asked[kind] = new AbortController());
  try {
    const answer = await fetch(path, {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      headers: body && { "Content-Type": "application/json" },
      signal: own.signal,
    });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    by("failure").hidden = true;
    return asked[kind] === own ? content : null;
  } catch (error) {
    if (error.name === "AbortError") return null;
    by("failure").textContent =
      error instanceof TypeError
        ? "The server does not answer. Is it still running?"
        : error.message;
    by("failure").hidden = false;
    return null;
  }
}

function later(milliseconds, act) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds);
  };
}

// The search, a combobox with a list.

function closeSearch() {
  found.hidden = true;
  active = -1;
  search.setAttribute("aria-expanded", "false");
  search.removeAttribute("aria-activedescendant");
}

async function openSearch() {
  const answer = await ask("search", `api/search?q=${encodeURIComponent(search.value)}`);
  if (!answer || document.activeElement !== search) return;
  options = answer.items.filter((item) => !picked.has(item.id));
  found.replaceChildren(
    ...options.map((item, index) =>
      element("li", { id: `option-${index}`, role: "option" }, item.title),
    ),
  );
  if (!options.length) {
    found.append(element("li", { className: "none" }, "No title fits."));
  }
  found.hidden = false;
  search.setAttribute("aria-expanded", "true");
  activate(options.length ? 0 : -1);
}

function activate(index) {
  active = index;
  found.querySelectorAll("[role=option]").forEach((option, place) => {
    option.setAttribute("aria-selected", String(place === index));
    if (place === index) option.scrollIntoView({ block: "nearest" });
  });
  if (index < 0) search.removeAttribute("aria-activedescendant");
  else search.setAttribute("aria-activedescendant", `option-${index}`);
}

function choose(index) {
  const item = options[index];
  if (!item) return;
  search.value = "";
  closeSearch();
  pick(item);
}

const typed = later(60, () => (search.value.trim() ? openSearch() : closeSearch()));
search.addEventListener("input", typed);
search.addEventListener("blur", closeSearch);
search.addEventListener("keydown", (event) => {
  const open = !found.hidden;
  const count = options.length;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    if (!open) openSearch();
    else if (count) activate((active + step + count) % count);
  } else if (event.key === "Enter" && open) {
    event.preventDefault();
    choose(active);
  } else if (event.key === "Escape") {
    if (open) closeSearch();
    else search.value = "";
  }
});
// Before the input loses the focus, so that it keeps it.
found.addEventListener("mousedown", (event) => {
  event.preventDefault();
  const place = [...found.children].indexOf(event.target.closest("[role=option]"));
  if (place >= 0) choose(place);
});

// What is picked.

function pick(item) {
  picked.set(item.id, item.title);
  showPicked();
}

function drop(id, place) {
  picked.delete(id);
  showPicked();
  const buttons = pickedList.querySelectorAll("button");
  (buttons[Math.min(place, buttons.length - 1)] ?? search).focus();
}

function showPicked() {
  pickedList.replaceChildren(
    ...[...picked].map(([id, title], place) =>
      element(
        "li",
        { "data-id": id },
        title,
        element(
          "button",
          { type: "button", "aria-label": `Remove ${title}`, onclick: () => drop(id, place) },
          "\u00d7",
        ),
      ),
    ),
  );
  by("hint").hidden = picked.size >= 3;
  recommend();
}

// The knob.

function showNiche() {
  const value = Number(niche.value);
  const words =
    value === 0
      ? "Ranked by how likely each title is."
      : value === 1
        ? "Ranked by how much likelier your picks make each title."
        : `Being well known counts for ${Math.round((1 - value) * 100)} %.`;
  by("niche-words").textContent = words;
  niche.setAttribute("aria-valuetext", `${Math.round(value * 100)} % niche`);
}

const turned = later(60, recommend);
niche.addEventListener("input", () => {
  showNiche();
  turned();
});

// Recommendations.

async function recommend() {
  const answer = await ask("recommend", "api/recommend", {
    picked: [...picked.keys()],
    niche: Number(niche.value),
  });
  if (!answer) return;
  const focused = results.contains(document.activeElement);
  results.replaceChildren(...answer.items.map(row));
  rove(0, focused && ".add");
  by("results-title").textContent = picked.size ? "For you" : "What many like";
  by("status").textContent = picked.size
    ? `${titles(answer.items.length)}, from ${picked.size} picked`
    : titles(answer.items.length);
  by("legend").textContent =
    Number(niche.value) === 0
      ? "The score is log p(title | what you picked). Below each title: the picks that " +
        "add most to its score, and by how much it falls without them."
      : "The score is log p(title | what you picked), less the knob's share of log p(title) " +
        "for somebody of whom nothing is known. Below each title: the picks that add most.";
}

function row(item, index) {
  const add = element(
    "button",
    { type: "button", className: "add", "aria-label": `Add ${item.title}` },
    "Add",
  );
  add.addEventListener("click", () => pick(item));
  const more = element(
    "button",
    {
      type: "button",
      className: "more",
      "aria-expanded": "false",
      "aria-label": `Titles similar to ${item.title}`,
    },
    "Similar",
  );
  const made = element(
    "li",
    { "data-id": item.id },
    element("span", { className: "rank", "aria-hidden": "true" }, String(index + 1)),
    element("span", { className: "title" }, item.title),
    element(
      "span",
      { className: "score", "aria-label": `score ${number(item.score)}` },
      number(item.score),
    ),
    ...(item.why.length ? [why(item.why)] : []),
    element("span", { className: "actions" }, more, add),
  );
  more.addEventListener("click", () => similar(item, made, more));
  return made;
}

function why(reasons) {
  return element(
    "ul",
    { className: "why", "aria-label": "because of" },
    ...reasons.map((reason) =>
      element(
        "li",
        { "data-id": reason.id },
        element("span", { title: reason.title }, reason.title),
        element("b", {}, signed(reason.change)),
      ),
    ),
  );
}

async function similar(item, where, button) {
  const open = where.querySelector(".similar");
  button.setAttribute("aria-expanded", String(!open));
  if (open) {
    open.remove();
    return;
  }
  const answer = await ask("similar", `api/similar?id=${encodeURIComponent(item.id)}`);
  if (!answer) {
    button.setAttribute("aria-expanded", "false");
    return;
  }
  const list = element("ul", { className: "similar", "aria-label": `Similar to ${item.title}` });
  for (const other of answer.items) {
    const add = element(
      "button",
      { type: "button", "aria-label": `Add ${other.title}`, onclick: () => pick(other) },
      "Add",
    );
    const line = element(
      "li",
      { "data-id": other.id },
      element("span", {}, other.title),
      element("b", { title: "cosine of the two item vectors" }, number(other.score)),
    );
    if (!picked.has(other.id)) line.append(add);
    list.append(line);
  }
  where.append(list);
}

// Tab reaches one row of the list, the arrow keys the others.

function rove(index, focus) {
  const rows = [...results.children];
  rows.forEach((each, place) => {
    for (const button of each.querySelectorAll(".actions button")) {
      button.tabIndex = place === index ? 0 : -1;
    }
  });
  if (focus) rows[index]?.querySelector(focus).focus();
}

results.addEventListener("keydown", (event) => {
  const rows = [...results.children];
  const now = rows.indexOf(event.target.closest("#results > li"));
  const to = {
    ArrowDown: Math.min(now + 1, rows.length - 1),
    ArrowUp: Math.max(now - 1, 0),
    Home: 0,
    End: rows.length - 1,
  }[event.key];
  if (now < 0 || to === undefined) return;
  event.preventDefault();
  rove(to, event.target.classList.contains("more") ? ".more" : ".add");
});
results.addEventListener("focusin", (event) => {
  const now = [...results.children].indexOf(event.target.closest("#results > li"));
  if (now >= 0) rove(now);
});

async function start() {
  showNiche();
  recommend();
  const model = await ask("model", "api/model");
  if (!model) return;
  by("model").textContent = model.name;
  by("about").textContent = `version ${model.version}, ${titles(model.items)}`;
  document.title = `${model.name}: recommendations`;
}

start();
