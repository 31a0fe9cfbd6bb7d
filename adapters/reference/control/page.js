// Shows what the control endpoint tells, live. The key stands behind the # of the address, which no browser sends;
// it goes out in a header alone. What servers and clients said is only ever set as text.
"use strict";

const API = "/api/v1";
const at = (id) => document.getElementById(id);
let key = decodeURIComponent(location.hash.slice(1));
let tries = 0;

function ask(method, path, body) {
  const headers = { Authorization: `Bearer ${key}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return fetch(API + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

async function act(method, path, body) {
  let detail = "";
  try {
    const answer = await ask(method, path, body);
    if (!answer.ok) detail = (await answer.json()).detail;
  } catch {
    detail = "The servers do not answer.";
  }
  at("failure").textContent = detail;
  at("failure").hidden = !detail;
  return !detail;
}

// What happens twice within a millisecond has one id: further ones get a number behind it.
function tellApart(rows) {
  const times = new Map();
  return rows.map(({ id, cells }) => {
    const before = times.get(id) ?? 0;
    times.set(id, before + 1);
    return { id: before ? `${id} ${before}` : id, cells };
  });
}

// Rows that are there stay, so that whoever stands on a button in one keeps standing there.
function fill(id, list) {
  const rows = tellApart(list);
  const body = at(id);
  const wanted = new Set(rows.map((row) => String(row.id)));
  for (const row of Array.from(body.rows)) if (!wanted.has(row.dataset.id)) row.remove();
  const before = new Map(Array.from(body.rows, (row) => [row.dataset.id, row]));
  let place = body.firstChild;
  for (const { id: name, cells } of rows) {
    let row = before.get(String(name));
    if (row) before.delete(String(name));
    else {
      row = document.createElement("tr");
      row.dataset.id = name;
    }
    cells.forEach((cell, index) => show(row.cells[index] ?? row.insertCell(), cell));
    if (row === place) place = row.nextSibling;
    else body.insertBefore(row, place);
  }
  for (const row of before.values()) row.remove();
}

function show(place, cell) {
  if (typeof cell === "object" && cell !== null && "press" in cell) {
    const button = place.firstChild ?? place.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = cell.text;
    button.ariaLabel = cell.label;
    button.onclick = cell.press;
    return;
  }
  const { text, kind } = typeof cell === "object" && cell !== null ? cell : { text: cell, kind: "" };
  const shown = String(text ?? "");
  if (place.textContent !== shown) place.textContent = shown;
  place.className = kind;
}

const time = (text) => (text ? text.slice(0, 19).replace("T", " ") : "");
const word = (yes) => (yes ? "yes" : "no");
const newest = (list) => list.map((one, index) => [one, index]).reverse();

const VIEWS = {
  clock: ({ now }) => {
    at("now").textContent = time(now) + " UTC";
    at("now").dateTime = now;
  },
  persona: ({ id, name }) => {
    at("persona").textContent = `${name} (${id})`;
  },
  attempts: ({ attempts }) =>
    fill("attempts", newest(attempts).map(([one]) => ({
      id: `${one.session} ${one.when} ${one.turns} ${one.mechanism}`,
      cells: [one.session, one.service, one.mechanism, word(one.tls),
        { text: one.outcome, kind: one.outcome === "accepted" ? "good" : "bad" }, one.identity ?? one.reason, time(one.when)],
    }))),
  verdicts: ({ verdicts }) =>
    fill("verdicts", newest(verdicts).map(([one]) => ({
      id: `${one.session} ${one.when} ${one.name}`,
      cells: [one.session, one.service, { text: one.words, kind: "bad" }, time(one.when)],
    }))),
  sessions: ({ sessions }) =>
    fill("sessions", newest(sessions.filter((one) => !one.ended)).map(([one]) => ({
      id: one.id,
      cells: [one.id, one.service, one.user, word(one.tls), time(one.began),
        { text: "End", label: `End session ${one.id}`, press: () => act("POST", `/sessions/${one.id}/end`, {}) }],
    }))),
  messages: ({ messages }) =>
    fill("messages", newest(messages).map(([one]) => ({
      id: one.id,
      cells: [one.id, one.sender, one.recipients.join(", "), one.subject, one.user, one.size],
    }))),
  users: ({ users }) => fill("users", users.map((one) => ({ id: one.name, cells: [one.name, one.messages] }))),
  faults: ({ faults }) =>
    fill("faults", faults.map((one) => ({
      id: one.id,
      cells: [one.id, one.text, one.hits,
        { text: "Remove", label: `Remove fault ${one.id}`, press: () => act("DELETE", `/faults/${one.id}`) }],
    }))),
};

function tell(event) {
  let topic = "";
  let data = "";
  for (const line of event.split("\n")) {
    if (line.startsWith("event: ")) topic = line.slice(7);
    if (line.startsWith("data: ")) data = line.slice(6);
  }
  if (topic in VIEWS) VIEWS[topic](JSON.parse(data));
}

// EventSource cannot send a header, so the stream is read by fetch.
async function watch() {
  const answer = await ask("GET", "/events");
  if (answer.status === 401) return "key";
  if (!answer.ok) return "again";
  at("state").textContent = "Live.";
  tries = 0;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return "again";
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    events.forEach(tell);
  }
}

async function connect() {
  if (!key) return askForKey("");
  at("door").hidden = true;
  let ended = "again";
  try {
    const answer = await ask("GET", "/info");
    if (answer.status === 401) return askForKey("This is not the key of this run.");
    const info = await answer.json();
    const names = ["imap", "pop", "smtp", "lmtp"].filter((name) => name in info);
    fill("servers", names.map((name) => ({ id: name, cells: [name, info[name].host, info[name].port, info[name].tls_port] })));
    at("oauth").textContent = info.oauth ? info.oauth.issuer : "none";
    at("all").hidden = false;
    ended = await watch();
  } catch {
    ended = "again";
  }
  if (ended === "key") return askForKey("This is not the key of this run.");
  at("state").textContent = "The servers do not answer. Trying again.";
  tries += 1;
  setTimeout(connect, Math.min(10000, 500 * 2 ** tries));
}

function askForKey(why) {
  at("state").textContent = why || "Not connected.";
  at("all").hidden = true;
  at("door").hidden = false;
  at("key").focus();
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  at("key").value = "";
  connect();
});
at("add-fault").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await act("POST", "/faults", { text: at("fault").value })) at("fault").value = "";
});
for (const button of document.querySelectorAll("[data-advance]"))
  button.addEventListener("click", () => act("POST", "/clock", { advance: Number(button.dataset.advance) }));
addEventListener("hashchange", () => location.reload());
connect();
