"use strict";
const $ = id => document.getElementById(id), FEW = 8;
let picked = [], names = new Map(), key = "", turn = 0, search = 0, found = [], active = -1, timer = 0, longest = 0,
  version = {}, asker = {}, several = true;  // whether what answers has interests

const make = (tag, kind, ...inside) => {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.append(...inside);
  return node;
};
const called = token => names.get(token) || token;
const full = token => names.has(token) ? `${names.get(token)} (${token})` : token;
const counted = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;
const colour = (node, k) => { node.style.setProperty("--c", `var(--k${k % 8})`); return node; };

// -- the service --

async function ask(path, body) {
  const headers = key ? {"X-API-Key": key} : {};
  if (body) headers["Content-Type"] = "application/json";
  let answer, content;
  try {
    answer = await fetch(path, {method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body)});
    content = await answer.json();
  } catch (error) {
    throw {words: "The service cannot be reached."};
  }
  if (answer.ok) return content;
  const {type, message, field} = content.error;
  if (type === "unauthorized") { $("key").hidden = false; $("secret").focus(); }
  throw {words: {unauthorized: key ? "This is not the key." : "The service asks for its key.",
    overloaded: "The service is busy.", not_ready: "No model has been published yet."}[type]
    || `The service refuses this: ${field ? field + ": " : ""}${message}.`};
}

function learn(tokens, given) {
  (given || []).forEach((name, place) => { if (name) names.set(tokens[place], name); });
}

function say(words, bad, again) {
  const state = $("state");
  state.className = bad ? "bad" : "";
  state.replaceChildren(make("p", "", words));
  if (again) {
    const button = make("button", "", "Try again");
    button.type = "button";
    button.addEventListener("click", again);
    state.append(button);
  }
}

async function start() {
  try {
    let popular;
    [version, popular] = await Promise.all([ask("version"), ask("items?limit=12")]);
    if (version.channels) asker = {user: `page-${Math.random().toString(36).slice(2, 10)}`};  // who has one channel
    several = Object.values(version.channels || {"": version}).every(one => one.interests !== 0);
    tell(version, "");
    popular.items.forEach(item => { if (item.name) names.set(item.token, item.name); });
    $("popular").replaceChildren(...popular.items.map(item => {
      const button = make("button", "", called(item.token));
      button.type = "button";
      button.title = `${full(item.token)}, ${counted(item.count, "interaction")}`;
      button.addEventListener("click", () => add([item.token]));
      return button;
    }));
    recall();
  } catch (error) {
    say(error.words || String(error), true, start);
  }
}

function tell(about, channel) {
  longest = about.max_history;
  $("about").textContent = `${channel}${about.model} on ${about.dataset}: which of its ` +
    `${about.items.toLocaleString()} items a history recalls${several ? ", and by which interest" : ""}. ` +
    `Bundle ${about.bundle.slice(0, 12)}.`;
}

async function recall() {
  const mine = ++turn, results = $("results");
  draw();
  results.setAttribute("aria-busy", "true");
  const waiting = setTimeout(() => { if (mine === turn) say("Recalling …"); }, 200);
  try {
    let answer, said, tries = 3;
    const question = {history: picked, names: true, ...asker};
    const n = Number($("n").value), exclude_seen = $("seen").checked;
    do {
      [answer, said] = await Promise.all([
        ask("recall", {...question, n, exclude_seen, per_interest: several}),
        several ? ask("interests", question) : null]);
      said = said || {vectors: [], weights: [], behaviors: picked, bundle: answer.bundle};
    } while (answer.bundle !== said.bundle && --tries);  // a new bundle came in between
    if (mine !== turn) return;
    show(answer, said);
  } catch (error) {
    if (mine !== turn) return;
    results.hidden = true;
    say(error.words || String(error), true, recall);
  } finally {
    clearTimeout(waiting);
    if (mine === turn) results.removeAttribute("aria-busy");
  }
}

// -- what is seen --

function show(answer, said) {
  if (answer.channel && version.channels[answer.channel].bundle)
    tell(version.channels[answer.channel], `Channel ${answer.channel}. `);
  learn(answer.items, answer.names);
  learn(said.behaviors, said.names);
  (answer.by_interest || []).forEach(each => learn(each.items, each.names));
  draw(said.behaviors);
  const popular = answer.fallback !== null, unknown = answer.unknown;
  const missing = unknown ? ` ${unknown === 1 ? "One is" : `${unknown} are`} not in the catalogue.` : "";
  const older = picked.length - unknown - said.behaviors.length;
  const unread = older > 0 ? ` The model reads the last ${longest}.` : "";
  say(answer.fallback === "empty history" ? "The history is empty, so the most popular items are shown."
    : popular ? (picked.length === 1 ? "This item is not" : "None of these items is") +
      " in the catalogue, so the most popular items are shown."
    : `${several ? `${counted(said.vectors.length, "interest")} in` : "Recalled from"} ${counted(picked.length, "item")}.${missing}${unread}`);
  $("parts").hidden = popular || !several;
  $("interests").replaceChildren(...said.weights.map((weights, k) => card(k, weights, said.behaviors,
    answer.by_interest[k])));
  $("heading").textContent = popular ? "Most popular" : "Recalled";
  $("how").textContent = popular ? "With their interactions in training."
    : several ? "All interests together: each item once, with its best score and the interest that brought it."
    : "Each item with its score.";
  $("merged").classList.toggle("plain", popular);
  $("merged").replaceChildren(...answer.items.map((token, place) => {
    const row = make("li", "", make("span", "figure", String(place + 1)), label(token),
      make("span", "figure", popular ? answer.scores[place].toLocaleString() : answer.scores[place].toFixed(3)));
    if (!popular && several) row.append(mark(answer.interests[place]));
    return row;
  }));
  if (!answer.items.length) $("how").textContent = "Nothing is left to recall: the whole pool is in the history.";
  $("results").hidden = false;
}

function label(token) {
  const node = make("span", "name", called(token));
  node.title = full(token);
  return node;
}

function mark(k) {
  const node = colour(make("span", "mark", String(k + 1)), k);
  node.title = `interest ${k + 1}`;
  return node;
}

function card(k, weights, behaviors, own) {
  const total = weights.reduce((sum, weight) => sum + weight, 0) || 1, byToken = new Map();
  weights.forEach((weight, place) => {
    byToken.set(behaviors[place], (byToken.get(behaviors[place]) || 0) + weight / total);
  });
  const order = [...byToken].sort((a, b) => b[1] - a[1]), most = order.length ? order[0][1] : 1;
  const made = order.slice(0, FEW).map(([token, share]) => {
    const fill = make("i");
    fill.style.width = `${100 * Math.max(share, 0) / (most || 1)}%`;
    return make("li", "", label(token), make("span", "bar", fill), make("span", "figure",
      `${(100 * share).toFixed(share < .0995 ? 1 : 0)} %`));
  });
  const rest = order.slice(FEW).reduce((sum, [, share]) => sum + share, 0);
  if (rest) made.push(make("li", "", make("span", "name small", `${counted(order.length - FEW, "other")}`), "",
    make("span", "figure", `${(100 * rest).toFixed(0)} %`)));
  const recalled = own.items.slice(0, FEW).map((token, place) =>
    make("li", "", label(token), make("span", "figure", own.scores[place].toFixed(3))));
  const title = make("h3", "", colour(make("span", "mark", `Interest ${k + 1}`), k));
  return colour(make("article", "card", title, make("h4", "", "made of"), make("ol", "", ...made),
    make("h4", "", "recalls"), make("ol", "two", ...recalled)), k);
}

function draw(read) {
  // from the newest on: what is read, what is older than that, and what nobody knows
  const left = read ? [...read] : null;
  const kinds = picked.map(() => "");
  for (let place = picked.length - 1; left && place >= 0; place--) {
    if (left.length && left[left.length - 1] === picked[place]) left.pop();
    else kinds[place] = left.length || !longest || read.length < longest ? "unknown" : "not read";
  }
  $("history").replaceChildren(...picked.map((token, place) => {
    const beside = kinds[place] ? `, ${kinds[place]}` : "";
    const button = make("button", beside ? "x off" : "x", called(token) + beside);
    button.type = "button";
    button.title = full(token);
    button.setAttribute("aria-label", `Remove ${called(token)}${beside}`);
    button.addEventListener("click", () => {
      picked.splice(place, 1);
      changed();
      const chips = $("history").querySelectorAll("button");
      (chips[Math.min(place, chips.length - 1)] || $("q")).focus();
    });
    return make("li", "", button);
  }));
  $("listed").textContent = picked.length ? "History, oldest first; press an item to remove it"
    : "History: empty so far";
  $("clear").disabled = !picked.length;
}

// -- the history --

function add(tokens) {
  picked.push(...tokens);
  changed();
}

function changed() {
  window.history.replaceState(null, "", picked.length ? "#" + picked.map(encodeURIComponent).join(",") : "#");
  recall();
}

function shut() {
  found = [];
  active = -1;
  search++;
  $("found").hidden = true;
  $("q").setAttribute("aria-expanded", "false");
  $("q").removeAttribute("aria-activedescendant");
}

function choose(place) {
  const token = found[place].token;
  $("q").value = "";
  shut();
  add([token]);
}

function move(to) {
  active = to;
  [...$("found").children].forEach((node, place) => node.setAttribute("aria-selected", String(place === to)));
  if (to >= 0) $("q").setAttribute("aria-activedescendant", `found-${to}`);
}

async function look() {
  const text = $("q").value.trim(), mine = ++search;
  if (!text || text.includes(",")) { shut(); return []; }
  let answer;
  try {
    answer = await ask(`items?limit=${FEW}&q=${encodeURIComponent(text)}`);
  } catch (error) {
    if (mine === search) { shut(); say(error.words || String(error), true, look); }
    return [];
  }
  if (mine !== search) return [];
  found = answer.items;
  found.forEach(item => { if (item.name) names.set(item.token, item.name); });
  const options = found.map((item, place) => {
    const count = make("small", "", counted(item.count, "interaction"));
    const node = make("li", "", make("span", "", full(item.token)), count);
    node.id = `found-${place}`;
    node.setAttribute("role", "option");
    node.addEventListener("mousedown", event => { event.preventDefault(); choose(place); });
    return node;
  });
  $("found").replaceChildren(...options);
  $("found").hidden = !found.length;
  $("q").setAttribute("aria-expanded", String(found.length > 0));
  move(-1);
  return found;
}

$("q").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 120); });
$("q").addEventListener("blur", shut);
$("q").addEventListener("keydown", async event => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : active < 0 ? 0 : -1;
    if (found.length) move((active + step + found.length) % found.length);
  } else if (event.key === "Escape") {
    shut();
  } else if (event.key === "Enter") {
    event.preventDefault();
    clearTimeout(timer);
    if (active >= 0) { choose(active); return; }
    const text = $("q").value.trim();
    if (!text) return;
    if (text.includes(",")) {
      $("q").value = "";
      add(text.split(",").map(part => part.trim()).filter(part => part));
      return;
    }
    if ((await look()).length) { choose(0); return; }
    if ($("q").value.trim() === text && $("state").className !== "bad") { $("q").value = ""; add([text]); }
  }
});
$("clear").addEventListener("click", () => { picked = []; changed(); $("q").focus(); });
$("n").addEventListener("change", recall);
$("seen").addEventListener("change", recall);
$("key").addEventListener("submit", event => {
  event.preventDefault();
  key = $("secret").value;
  $("key").hidden = true;
  start();
});
try {
  picked = location.hash.slice(1).split(",").filter(part => part).map(decodeURIComponent);
} catch (error) {
  picked = [];
}
draw();
say("Loading …");
start();
