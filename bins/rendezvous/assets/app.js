// Keeps the page up to date. Remote text goes through textContent and attributes' values only.

const list = document.getElementById("channels");
const none = document.getElementById("none");
const live = document.getElementById("live");
const template = document.getElementById("channel");
const server = document.body.dataset.server;
const PAGE = 100;
const GATHER_MS = 200;

function count(members) {
  if (members === 0) return "nobody there";
  return members === 1 ? "1 person" : `${members} people`;
}

function shellQuote(word) {
  return /^[A-Za-z0-9._-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function fill(item, channel, members) {
  const part = (name) => item.querySelector(`[data-show="${name}"]`);
  setText(part("name"), channel.name);
  setText(part("kind"), channel.kind);
  setText(part("count"), count(channel.members));
  setText(part("description"), channel.description);
  setText(part("author"), channel.author);
  setText(part("command"), `scripts/voice-chat ${shellQuote(channel.name)} --server ${server}`);
  part("temporary").hidden = channel.kept;
  part("description").hidden = channel.description === "";
  part("by").hidden = channel.author === "";
  const names = part("members");
  if (Array.from(names.children, (li) => li.textContent).join("\n") !== members.join("\n")) {
    names.replaceChildren(...members.map((member) => {
      const name = document.createElement("bdi");
      name.textContent = member;
      const li = document.createElement("li");
      li.append(name);
      return li;
    }));
  }
}

function newItem(channel) {
  const item = template.content.firstElementChild.cloneNode(true);
  item.dataset.name = channel.name;
  return item;
}

async function json(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.json();
}

async function membersOf(channel) {
  if (channel.kind !== "open" || channel.members === 0) return [];
  try {
    const answer = await json(`/api/channel/${encodeURIComponent(channel.name)}/members`);
    return answer.members.map((member) => member.name);
  } catch {
    return []; // gone in the meantime
  }
}

async function refresh() {
  const { channels } = await json(`/api/channels?limit=${PAGE}`);
  const members = await Promise.all(channels.map(membersOf));
  const known = new Map(Array.from(list.children, (item) => [item.dataset.name, item]));
  channels.forEach((channel, at) => {
    const item = known.get(channel.name) ?? newItem(channel);
    known.delete(channel.name);
    fill(item, channel, members[at]);
    if (list.children[at] !== item) list.insertBefore(item, list.children[at] ?? null);
  });
  for (const gone of known.values()) gone.remove();
  none.hidden = channels.length > 0;
}

let waiting = false;
let again = false;

// One request at a time, however many events come.
async function refreshSoon() {
  again = true;
  if (waiting) return;
  waiting = true;
  while (again) {
    await new Promise((done) => setTimeout(done, GATHER_MS));
    again = false;
    await refresh().catch(() => setText(live, "The server does not answer."));
  }
  waiting = false;
}

function watch() {
  const events = new EventSource("/api/events");
  events.addEventListener("open", () => {
    setText(live, "Live");
    refreshSoon();
  });
  events.addEventListener("error", () => setText(live, "Connecting…"));
  for (const kind of ["created", "deleted", "joined", "left", "reset"]) {
    events.addEventListener(kind, refreshSoon);
  }
}

// A list of several pages stays as it was when it was asked for.
if ("live" in document.body.dataset) watch();
