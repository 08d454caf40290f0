// The page of the local server: what is picked goes there, recommendations come back.

const by = (id) => document.getElementById(id);
const search = by("search");
const found = by("found");
const pickedList = by("picked");
const results = by("results");
const popular = by("popular");
const niche = by("niche");
const only = by("only");

const picked = new Map(); // title by id, in the order of picking
let probable = false; // whether scores are log-probabilities
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
// How many times, with as many digits as it deserves.
const times = (value) =>
  value >= 10
    ? Math.round(value).toLocaleString("en")
    : value >= 0.01
      ? value.toFixed(value < 0.1 ? 2 : 1)
      : "<0.01";
const factor = (change) => Math.exp(change).toFixed(change < 2.3 ? 2 : 0);
const unseen = (text) => element("span", { className: "unseen" }, text);
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
  by("fits").textContent = "";
}

async function openSearch() {
  const answer = await ask("search", `api/search?q=${encodeURIComponent(search.value)}`);
  if (!answer || document.activeElement !== search) return;
  options = answer.items.filter((item) => !picked.has(item.id));
  found.replaceChildren(
    ...options.map((item, index) =>
      element(
        "li",
        { id: `option-${index}`, role: "option" },
        element("span", {}, item.title),
        ...(item.title === item.id ? [] : [element("small", {}, item.id)]),
      ),
    ),
  );
  found.hidden = !options.length;
  search.setAttribute("aria-expanded", String(options.length > 0));
  by("fits").className = options.length ? "unseen" : "small";
  by("fits").textContent = options.length
    ? `${titles(options.length)} found`
    : "No title fits, not even with a typing error.";
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

function clear() {
  picked.clear();
  showPicked();
  search.focus();
}

by("clear").addEventListener("click", clear);

function showPicked() {
  drawPicked();
  recommend();
}

function drawPicked() {
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
  by("clear").hidden = !picked.size;
  by("made-up").hidden = picked.size > 0 || !by("examples").children.length;
}

async function showExamples() {
  const answer = await ask("examples", "api/examples");
  if (!answer) return;
  by("examples").replaceChildren(
    ...answer.examples.map((items) => {
      const words = items.map((item) => item.title).join(" \u00b7 ");
      const button = element("button", { type: "button" }, words);
      button.addEventListener("click", () => {
        items.forEach((item) => picked.set(item.id, item.title));
        showPicked();
        by("clear").focus();
      });
      return element("li", {}, button);
    }),
  );
  by("made-up").hidden = picked.size > 0 || !answer.examples.length;
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

only.addEventListener("change", () => recommend());

// The state is in the fragment of the address, which no server gets to see.

const label = () => (only.value ? JSON.parse(only.value) : null);

function keepState() {
  const state = new URLSearchParams([...picked.keys()].map((id) => ["pick", id]));
  if (Number(niche.value)) state.set("niche", niche.value);
  for (const [name, value] of Object.entries(label() ?? {})) state.set(name, value);
  const text = state.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname);
}

function restoreState() {
  const state = new URLSearchParams(location.hash.slice(1));
  picked.clear();
  // Their titles come with the answer.
  for (const id of state.getAll("pick")) picked.set(id, id);
  const share = Number(state.get("niche"));
  niche.value = share >= 0 && share <= 1 ? share : 0;
  const [feature, name] = [state.get("feature"), state.get("label")];
  const value = feature && name ? option(feature, name) : "";
  if (![...only.options].some((each) => each.value === value)) {
    only.append(element("option", { value }, name));
  }
  only.value = value;
  showNiche();
  showPicked();
}

window.addEventListener("hashchange", restoreState);
by("skip").addEventListener("click", (event) => {
  event.preventDefault(); // Its fragment would take the state's place.
  results.focus();
});
by("copy").hidden = !navigator.clipboard;
by("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(location.href);
  by("copied").textContent = "Copied";
  setTimeout(() => (by("copied").textContent = ""), 3000);
});

const option = (feature, name) => JSON.stringify({ feature, label: name });

function showLabels(features) {
  only.append(
    ...features.map(({ name, count, largest }) =>
      element(
        "optgroup",
        { label: count > largest.length ? `${name}, the ${largest.length} largest` : name },
        ...largest.map((each) =>
          element(
            "option",
            { value: option(name, each.label) },
            `${each.label} (${each.items.toLocaleString("en")})`,
          ),
        ),
      ),
    ),
  );
  by("filter").hidden = !features.length;
}

// Recommendations.

async function recommend() {
  keepState();
  const answer = await ask("recommend", "api/recommend", {
    picked: [...picked.keys()],
    niche: Number(niche.value),
    only: label(),
  });
  if (!answer) return;
  if (![...picked].every(([id, title], place) => answer.picked[place]?.title === title)) {
    // Restored ones: now with their titles, and without those of another version.
    picked.clear();
    answer.picked.forEach((item) => picked.set(item.id, item.title));
    drawPicked();
    keepState();
  }
  const focused = results.contains(document.activeElement);
  results.replaceChildren(...answer.items.map(row));
  rove(0, focused && ".add");
  by("results-title").textContent = picked.size ? "For this history" : "For anybody";
  by("status").textContent = picked.size
    ? `${titles(answer.items.length)}, from ${picked.size} picked`
    : titles(answer.items.length);
  by("measure").hidden = !probable || !picked.size || !answer.items.length;
  by("legend").textContent = answer.items.length ? legend() : "Nothing is left to recommend.";
  showPopular(answer);
}

function legend() {
  const share = Number(niche.value);
  if (!picked.size) return "What the model says of somebody of whom it knows nothing.";
  if (probable) {
    return (
      "Each doubling makes the bar longer by the same length. Below each title are the " +
      "picks that matter most: \u00d72 says that it would be half as likely without that one."
    );
  }
  const score = share
    ? "The model's score, less the knob's share of its score for anybody."
    : "The model's score, which ranks titles; it is no probability.";
  return `${score} Below each title: the picks that add most to it.`;
}

function showPopular({ items, popular: anybody }) {
  const shown = new Set(items.map((item) => item.id));
  const both = anybody.filter((item) => shown.has(item.id)).length;
  by("beside").hidden = !picked.size;
  by("both").textContent =
    `What the same model gives without a history. ${both} of these ` +
    `${both === 1 ? "is" : "are"} also in the list for this history.`;
  popular.replaceChildren(
    ...anybody.map((item, index) =>
      element(
        "li",
        { "data-id": item.id, className: shown.has(item.id) ? "shared" : "" },
        element("span", { className: "rank", "aria-hidden": "true" }, String(index + 1)),
        element("span", {}, item.title),
        element("span", { className: "score" }, ...aside(item)),
      ),
    ),
  );
}

function aside(item) {
  if (picked.has(item.id)) return ["picked"];
  return item.likelier === null ? [] : likelier(item.likelier);
}

const likelier = (value) => [`${times(value)}\u00d7`, unseen(" as likely as for anybody")];

// A bar of eight doublings; nothing for what is not likelier.
function bar(value) {
  const made = element("span", { className: "bar", "aria-hidden": "true" });
  const share = Math.min(Math.max(Math.log2(value) / 8, 0), 1);
  made.style.setProperty("--share", share);
  return made;
}

function score(item) {
  const title = `score ${number(item.score)}`;
  if (item.likelier === null) {
    const shown = probable ? [] : [number(item.score)];
    return element("span", { className: "score", title }, ...shown);
  }
  return element(
    "span",
    { className: "score", title },
    bar(item.likelier),
    element("b", {}, ...likelier(item.likelier)),
  );
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
    score(item),
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
        element("b", {}, probable ? `\u00d7${factor(reason.change)}` : signed(reason.change)),
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
  const model = await ask("model", "api/model");
  if (!model) return;
  probable = model.log_probabilities;
  showLabels(model.labels);
  restoreState();
  showExamples();
  by("model").textContent = model.name;
  by("about").textContent = `version ${model.version}, ${titles(model.items)}`;
  document.title = `${model.name}: recommendations`;
}

start();
