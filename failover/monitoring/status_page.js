const LOOK_EVERY = 500;                      // ms between two questions to the daemon
const SILENCE = 2000;                        // ms without an answer before the page says so
const POINTS = 120;                          // seconds that a plot shows
const SAME_EVENT = 5e6;                      // us between hosts that see one thing happen
const JOBS = 6;                              // orders whose outcome stays in view
const by_id = (id) => document.getElementById(id);

// --- what is known

let status = null, events = [], drills = { drill: [], elsewhere: [], next: [] }, access = { orders: false, obstacle: "" };
let answered = 0, sampled = 0;               // performance.now()
const history_of = new Map();                // guest -> samples
const jobs = [];                             // { title, step, fraction, text, cls, link }
const token = { get: () => sessionStorage.getItem("token"), set: (text) => sessionStorage.setItem("token", text),
                forget: () => sessionStorage.removeItem("token") };

// --- drawing: what should be there is made anew each time, and what differs is changed

const SVG = "http://www.w3.org/2000/svg";
function el(tag, attributes = {}, ...children) {
  const node = ["svg", "path"].includes(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined && value !== "") node.setAttribute(name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const text = (tag, words, cls = "") => el(tag, { class: cls }, String(words));

/// So that focus, selection and scrolling stay where they are.
function morph(old, fresh) {
  for (const { name } of [...old.attributes ?? []]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes ?? []) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  morph_children(old, [...fresh.childNodes]);
}
function morph_children(old, fresh) {
  fresh.forEach((child, i) => {
    const now = old.childNodes[i];
    if (!now) old.append(child);
    else if (now.nodeName !== child.nodeName || now.dataset?.key !== child.dataset?.key) now.replaceWith(child);
    else if (now.nodeType === Node.TEXT_NODE) { if (now.data !== child.data) now.data = child.data; }
    else morph(now, child);
  });
  while (old.childNodes.length > fresh.length) old.lastChild.remove();
}
const fill = (id, ...children) => morph_children(by_id(id), children.flat().filter(Boolean)
  .map((child) => typeof child === "string" ? document.createTextNode(child) : child));

const number = (value) => Number(value ?? 0);
const span = (us) => us < 1000 ? `${us.toFixed(0)} µs` : us < 1e6 ? `${(us / 1e3).toFixed(1)} ms`
  : us < 120e6 ? `${(us / 1e6).toFixed(1)} s` : us < 7200e6 ? `${(us / 60e6).toFixed(1)} min` : `${(us / 3600e6).toFixed(1)} h`;
const seconds = (us) => `${Math.floor(us / 1e6)} s`;
const size = (bytes) => bytes < 1024 ? `${bytes.toFixed(0)} B` : bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KiB`
  : `${(bytes / (1 << 20)).toFixed(1)} MiB`;
const moment = (us) => new Date(number(us) / 1000).toLocaleString("sv");

const LOOK = {
  PROTECTED: ["good", "protected"], UNPROTECTED: ["warn", "runs, UNPROTECTED"], SYNCHRONISING: ["warn", "runs, synchronising"],
  STARTING: ["warn", "starting"], PROMOTING: ["warn", "being promoted"], SUSPENDED: ["bad", "SUSPENDED: no quorum"],
  FAILED: ["bad", "FAILED"], STOPPED: ["soft", "stopped"],
};
const EVENT = { FAILED_OVER: "bad", PROTECTION_LOST: "bad", HOST_LOST: "bad", QUORUM_LOST: "bad", SWITCHED_OVER: "good",
                PROTECTION_REGAINED: "good", HOST_RETURNED: "good", QUORUM_REGAINED: "good" };

function plot(title, samples, value, format) {
  const values = samples.map(value);
  const top = Math.max(...values, 1e-9);
  const now = values.length ? format(values.at(-1)) : "unknown";
  const line = values.map((v, i) => `${i ? "L" : "M"}${POINTS - values.length + i} ${(98 - 94 * v / top).toFixed(1)}`).join("");
  return el("figure", {}, el("figcaption", {}, text("span", title), text("span", now, "soft")),
    el("svg", { viewBox: `0 0 ${POINTS} 100`, preserveAspectRatio: "none", role: "img",
                "aria-label": `${title}, last ${values.length} s: now ${now}, at most ${format(top)}` }, el("path", { d: line })));
}

function table(cls, titles, rows) {
  return el("table", { class: cls }, el("tr", {}, titles.map((title) => text("th", title))),
    rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell)))));
}

function account(guest) {
  const months = guest.availability?.month ?? [];
  if (!months.length) return null;
  const rows = [...months].reverse().slice(0, 3).map((month) => {
    const up = number(month.protected_us) + number(month.unprotected_us), down = number(month.down_us);
    const name = String(month.month);
    return [`${name.slice(0, 4)}-${name.slice(4)}`, up + down ? `${(100 * up / (up + down)).toFixed(4)} %` : "", span(down),
            String(month.outages), span(number(month.longest_outage_us)), span(number(month.unprotected_us)), String(month.failovers)];
  });
  return table("", ["month (UTC)", "availability", "down", "outages", "longest", "unprotected", "failovers"], rows);
}

const url_of = (host) => status?.quorum.member.find((member) => member.name === host)?.page_url;
/// A word that leads to the page of another host, if its address is known.
function page_of(host) {
  const url = url_of(host);
  return url ? el("a", { href: url }, `host ${host}`) : `host ${host}`;
}
const button = (what, about, words) =>
  el("button", { type: "button", "data-do": what, "data-about": about, "aria-label": `${what} ${about}` }, words ?? what);

function guest_orders(guest) {
  if (!access.orders) return null;
  const here = [], there = [];
  const give = (host, ...what) => {
    if (host === status.host) here.push(...what.map((one) => button(one, guest.name)));
    else there.push(el("span", { class: "soft" }, `${what.join(", ")}: give it on `, page_of(host)));
  };
  if (guest.active_host && guest.backup_host) {
    give(guest.active_host, "switchover", "verify", "real drill", "unprotect");
    give(guest.backup_host, "drill");
  } else if (guest.active_host) give(guest.active_host, "protect", ...(guest.keep_on ?? []).length ? ["unprotect"] : []);
  if (guest.active_host) give(guest.active_host, "stop");
  else give(status.host, "start");
  return here.length + there.length ? el("div", { class: "orders" }, here, there) : null;
}

function flow(guest) {
  if (!guest.active_host) return null;
  const live = guest.state === "PROTECTED" && number(guest.epochs_per_second_milli) > 0 && number(guest.report_age_us) < 3e6;
  return el("div", { class: "flow" }, text("b", guest.active_host), guest.backup_host
    ? [el("span", { class: `wire ${live ? "live" : "dead"}` }), text("b", guest.backup_host), text("span", `epoch ${number(guest.epoch).toLocaleString("en")}`)]
    : text("span", "without a replica", "warn"), text("span", `term ${guest.term}${guest.link ? " · " + guest.link : ""}`, "soft"));
}

function last_drill({ started_unix_us, passed, recovery_us }) {
  return text("p", `last drill here, ${moment(started_unix_us)}: ${passed ? `recovered in ${span(number(recovery_us))}` : "FAILED"}`, passed ? "soft" : "bad");
}

function card(guest) {
  const [cls, words] = LOOK[guest.state] ?? ["bad", guest.state];
  const samples = history_of.get(guest.name) ?? [];
  const age = number(guest.report_age_us);
  return el("article", { "data-key": guest.name, "data-guest": guest.name, "data-state": guest.state },
    el("h2", {}, guest.name + " ", text("span", words, `state ${cls}`)), flow(guest),
    guest.detail ? text("p", guest.detail, "soft") : null, guest.last_drill ? last_drill(guest.last_drill) : null,
    age > 3e6 ? text("p", `last word of ${guest.active_host}: ${span(age)} ago`, "bad") : null,
    guest.state === "SYNCHRONISING" ? el("progress", { value: guest.sync_fraction, "aria-label": "synchronised" }) : null,
    guest_orders(guest),
    guest.backup_host ? el("div", { class: "plots" }, plot("recovery point", samples, (s) => s.age, span), plot("pause, last epoch", samples, (s) => s.pause, span),
      plot("seal to commit, last", samples, (s) => s.latency, span), plot("checkpoint traffic", samples, (s) => s.rate, (v) => size(v) + "/s")) : null,
    account(guest));
}

function host_card(member) {
  const of = (field) => status.guest.filter((guest) => guest[field] === member.name).map((guest) => guest.name).join(", ");
  const runs = of("active_host"), keeps = of("backup_host"), here = member.name === status.host;
  const note = member.present ? member.witness ? " witness" : "" : " not seen";
  const orders = here && access.orders && !member.witness ? button(status.drained ? "undrain" : "drain", member.name) : null;
  return el("li", { "data-key": member.name, "data-host": member.name, class: member.present ? "" : "absent" },
    !here && member.page_url ? el("a", { href: member.page_url }, el("strong", {}, member.name)) : text("strong", member.name),
    text("span", note + (here ? " this host" : "") + (here && status.drained ? ", drained" : ""), "soft"),
    runs ? text("div", "runs " + runs) : null, keeps ? text("div", "replica of " + keeps, "soft") : null, orders);
}

/// It is where the drill was made.
function evidence({ host, id }) {
  const page = host === status?.host ? "/" : url_of(host);
  return page ? el("a", { href: `${page.replace(/\/$/, "")}/drills/${encodeURIComponent(id)}` }, "evidence")
    : text("span", `on ${host}`, "soft");
}

function draw_drills() {
  const all = [...drills.drill, ...drills.elsewhere].sort((one, other) => number(other.started_unix_us) - number(one.started_unix_us));
  const rows = all.map((drill) => [moment(drill.started_unix_us), drill.host, drill.guest,
    drill.passed ? text("span", "passed", "good") : text("span", `FAILED: ${drill.failure}`, "bad"), drill.passed ? span(number(drill.recovery_us)) : "",
    span(number(drill.recovery_point_us)), evidence(drill)]);
  const next = (drills.next ?? []).map((one) => text("p", `next of ${one.guest}: ${moment(one.at_unix_us)} (${one.schedule})`, "soft"));
  fill("drills", rows.length ? table("text", ["begun", "host", "guest", "result", "recovery", "recovery point", ""], rows) : text("p", "none yet", "soft"), next);
}

/// What several hosts saw at about the same time is one line.
function same_events() {
  const lines = [];
  for (const event of events) {
    const same = lines.find((line) => !line.hosts.includes(event.host) && number(line.at_unix_us) - number(event.at_unix_us) < SAME_EVENT
      && ["event", "guest", "subject", "detail"].every((field) => line[field] === event[field]));
    if (same) same.hosts.push(event.host);
    else lines.push({ ...event, hosts: [event.host] });
  }
  return lines;
}

function draw_events() {
  const rows = same_events().map((event) => [moment(event.at_unix_us), event.hosts.join(", "), text("span", event.detail || event.event, EVENT[event.event] ?? "")]);
  fill("events", rows.length ? table("text", ["when", "host", "what"], rows) : text("p", "nothing has changed", "soft"));
  const unheard = (status?.quorum.member ?? []).filter((member) => !member.present && member.name !== status.host).map((member) => member.name);
  fill("unheard", unheard.length ? `Not seen now: ${unheard.join(", ")}. What happens there is told when they are back.` : "");
}

function draw_access() {
  by_id("login").hidden = !access.orders;
  by_id("login").textContent = token.get() ? "Forget the token" : "Give the token …";
  by_id("login").dataset.do = token.get() ? "forget" : "login";
  fill("access", access.obstacle ?? "");
}

function draw_jobs() {
  fill("jobs", jobs.map((job) => el("li", { class: job.cls ?? "" }, el("strong", {}, job.title + " "), text("span", job.text ?? job.step),
    job.link ? [" ", el("a", { href: job.link }, "evidence")] : null,
    job.text ? null : el("progress", job.fraction >= 0 ? { value: job.fraction, "aria-label": job.title } : { "aria-label": job.title }))));
}

/// What is not true any more must not look as if it were.
function draw_truth() {
  const silent = performance.now() - answered;
  const cut = !status || silent > SILENCE;
  by_id("live").classList.toggle("old", cut);
  const where = status ? `host ${status.host}` : "this host";
  const view = number(status?.quorum.view_age_us);
  let words = "";
  if (cut) words = status ? `No answer from ${where}; last view ${seconds(silent * 1000)} old.` : answered === 0 && silent < SILENCE ? "" : `No answer from ${where}.`;
  else if (!status.quorum.quorate)
    words = view ? `No quorum on ${where}; last view of the others ${seconds(view)} old.` : `No quorum on ${where}, and none since its daemon began.`;
  fill("banner", words);
}

function draw() {
  document.title = `${status.cluster} · Understudy`;
  fill("who", `cluster ${status.cluster}, as host ${status.host} sees it · ${status.version}`);
  fill("warnings", status.warning.map((words) => text("li", words)));
  fill("hosts", status.quorum.member.map(host_card));
  fill("guests", status.guest.map(card));
  draw_access();
  draw_truth();
}

// --- the daemon

async function get(path, headers = {}) {
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(3000) });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

function remember() {
  if (performance.now() - sampled < 950) return;
  sampled = performance.now();
  for (const guest of status.guest) {
    const samples = history_of.get(guest.name) ?? [];
    samples.push({ age: number(guest.commit_age_us), pause: guest.pause_us?.last ?? 0, latency: guest.commit_latency_us?.last ?? 0,
                   rate: number(guest.bytes_per_epoch) * number(guest.epochs_per_second_milli) / 1000 });
    if (samples.length > POINTS) samples.shift();
    history_of.set(guest.name, samples);
  }
}

async function look() {
  try {
    const fresh = await get("/api/status");
    status = { guest: [], warning: [], ...fresh };
    answered = performance.now();
    remember();
    draw();
  } catch { /* draw_truth says how old all is */ }
  setTimeout(look, LOOK_EVERY);
}

async function look_back() {
  try {
    [access, { event: events = [] }, drills] = await Promise.all([get("/api/access"), get("/api/events"), get("/api/drills")]);
    drills = { drill: [], elsewhere: [], ...drills };
    draw_events();
    draw_drills();
  } catch { /* the next time */ }
  setTimeout(look_back, 2 * LOOK_EVERY);
}

// --- orders

const ORDERS = {
  switchover: (guest) => ({ about: `Guest ${guest.name} moves from host ${guest.active_host} to host ${guest.backup_host}, with one last epoch: it stands still for some milliseconds, and no connection is lost.`,
                            request: { switch_over: { guest: guest.name } } }),
  drill: (guest) => ({ about: `A clone of ${guest.name} is started here, in a network of its own, and probed; the real guest goes on.`, request: { drill: { guest: guest.name } } }),
  "real drill": (guest) => ({ stakes: true, request: { drill: { guest: guest.name, real: true } } }),
  verify: (guest) => ({ about: `Memory, devices and disks of ${guest.name} are compared with the replica's. The guest is paused while its memory is compared.`, request: { verify: { guest: guest.name } } }),
  unprotect: (guest) => ({ about: `${guest.name} goes on WITHOUT a replica: when host ${guest.active_host} dies, so does the guest.`, request: { unprotect: { guest: guest.name } } }),
  start: (guest) => ({ about: `${guest.name} boots on host ${status.host}.`, request: { start: { guest: guest.name } } }),
  stop: (guest) => ({ about: `${guest.name} is switched off at once, as if its plug were pulled: its clients lose it until somebody starts it.`, request: { stop: { guest: guest.name } } }),
  protect: (guest) => ({ about: `${guest.name} is copied to another host while it runs, and then kept there epoch by epoch.`, request: { protect: { guest: guest.name } },
                         backups: status.quorum.member.filter((one) => one.present && !one.witness && one.name !== guest.active_host).map((one) => one.name) }),
};
const HOST_ORDERS = {
  drain: (host) => ({ about: `The guests of host ${host} switch over to their backups, replicas on it are given up, and it takes nothing new until undrain.`, request: { drain: { host } } }),
  undrain: (host) => ({ about: `Host ${host} takes guests and replicas again.`, request: { undrain: { host } } }),
};

/// A dialog; `then` gets what was chosen, and says what is wrong with it, or nothing.
let then = null;
function ask(title, about, more, go, next) {
  fill("ask_title", title);
  fill("ask_text", about);
  by_id("ask_more").replaceChildren(...more);
  fill("ask_trouble", "");
  fill("ask_go", go);
  then = next;
  if (!by_id("ask").open) by_id("ask").showModal();
  (by_id("ask_more").firstElementChild ?? document.querySelector("[data-do=cancel]")).focus();
}

function login(next) {
  const field = el("input", { type: "password", id: "token", autocomplete: "off", "aria-label": "token", required: "required" });
  ask("The operators' token", "What stands in the http_token_file of this host. It is kept until this tab is closed.", [field], "Give it", async () => {
    const given = field.value.trim();
    try {
      await get("/api/access", { Authorization: `Bearer ${given}` });
    } catch (error) {
      field.select();
      return error.message || "No answer.";
    }
    token.set(given);
    draw_access();
    next?.();
    return null;
  });
}

function outcome(job, reply) {
  job.cls = "good";
  if (reply.error) [job.text, job.cls] = [reply.error.message, "bad"];
  else if (reply.drill) {
    const { passed, failure, recovery_us, recovery_point_us, id } = reply.drill;
    job.text = passed ? `passed: recovered in ${span(number(recovery_us))}, from a state ${span(number(recovery_point_us))} old` : `FAILED: ${failure}`;
    job.link = `/drills/${id}`;
    if (!passed) job.cls = "bad";
  } else if (reply.verification) {
    const differ = (reply.verification.block ?? []).filter((block) => !block.identical).map((block) => block.name);
    job.text = differ.length ? `DIFFERENT: ${differ.join(", ")}` : `identical at epoch ${number(reply.verification.epoch).toLocaleString("en")}`;
    if (differ.length) job.cls = "bad";
  } else job.text = reply.done?.message || "done";
}

/// Replies come as lines: progress, then the outcome.
async function follow(job, answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "", part; !(part = await reader.read()).done;) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const reply = JSON.parse(line);
      if (reply.progress) [job.step, job.fraction] = [reply.progress.step, reply.progress.fraction];
      else outcome(job, reply);
    }
    draw_jobs();
  }
}

const post = (request) => fetch("/api/order", { method: "POST", body: JSON.stringify(request),
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${token.get()}` } });

async function send(title, request) {
  const job = { title, step: "asked for", fraction: -1 };
  jobs.unshift(job);
  jobs.length = Math.min(jobs.length, JOBS);
  draw_jobs();
  const fail = (words) => [job.text, job.cls] = [words, "bad"];
  try {
    const answer = await post(request);
    if (answer.ok) await follow(job, answer);
    else fail((await answer.text()).trim());
    if (answer.status === 401) token.forget();
  } catch { /* below */ }
  if (!job.text) fail("the connection broke before the outcome was known: look at what is shown below");
  draw_jobs();
  draw_access();
}

/// What the daemon says before it does what was asked; it is asked in earnest once that was read.
async function stakes_of(request) {
  try {
    const answer = await post(request), said = (await answer.text()).trim();
    if (answer.status === 401) token.forget();
    if (!answer.ok) return { refused: said };
    const reply = JSON.parse(said.split("\n").at(-1));
    return reply.stakes ? { text: reply.stakes.text } : { refused: reply.error?.message ?? said };
  } catch { return { refused: "no answer from the daemon" }; }
}

async function order(what, about) {
  if (!token.get()) return login(() => order(what, about));
  const guest = status.guest.find((one) => one.name === about);
  const wanted = HOST_ORDERS[what] ? HOST_ORDERS[what](about) : ORDERS[what](guest);
  if (wanted.stakes) {
    const { text: words, refused } = await stakes_of(wanted.request);
    if (refused) {
      jobs.unshift({ title: `${what} ${about}`, text: refused, cls: "bad" });
      jobs.length = Math.min(jobs.length, JOBS);
      return draw_jobs();
    }
    wanted.about = words;
    wanted.request.drill.sure = true;
  }
  const choice = wanted.backups ? el("select", { "aria-label": "backup" }, wanted.backups.map((name) => el("option", {}, name))) : null;
  ask(`${what} ${about}?`, wanted.about, choice ? [choice] : [], what, () => {
    if (choice && !choice.value) return "No other host is there.";
    if (choice) wanted.request.protect.backup = choice.value;
    by_id("ask").close();
    send(`${what} ${about}`, wanted.request);
    return null;
  });
}

document.addEventListener("click", (event) => {
  const { do: what, about } = event.target.closest("[data-do]")?.dataset ?? {};
  if (what === "cancel") by_id("ask").close();
  else if (what === "login") login(() => by_id("ask").close());
  else if (what === "forget") { token.forget(); draw_access(); }
  else if (what) order(what, about);
});
by_id("ask_form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const trouble = await then();
  fill("ask_trouble", trouble ?? "");
});
setInterval(draw_truth, LOOK_EVERY);
look();
look_back();
