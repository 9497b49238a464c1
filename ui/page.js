// Shows what the patches say (ui/render.py): rows, state, clock, figures. Gradio runs this once,
// with `element` (page.html), `props.value` (the newest patch), `watch` and `trigger`.
// The names Gradio listens for: 'typed' 'sent' 'stopped' 'renewed' 'behind'.
const find = (selector) => element.querySelector(selector);
const rows = find(".rows");
const scroll = find(".scroll");
const log = find(".heard");
const shown = new Map(); // row index -> { html, element }
const announced = new Set();
const PROCESS_EVERY_MS = 1500;
const PROCESS_TIMEOUT_MS = 10000; // it is busy while it loads a model
const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)");
let newest = "";
let version = -1;
let nResets = 0;
let nTicks = 0;
let askedAt = -1;
let isGone = false; // the process, as far as the page can tell
let processId = "";
let nMissing = 0; // times in a row that the process did not answer

const box = makeBox(element, trigger);

function setText(selector, text) {
  const target = find(selector);
  if (target.textContent !== text) target.textContent = text;
  if (target.hasAttribute("hidden") !== !text) target.hidden = !text;
}

function clearRows() {
  shown.clear();
  announced.clear();
  rows.replaceChildren();
  log.replaceChildren();
}

function putRow(index, html) {
  const old = shown.get(index);
  if (old && old.html === html) return;
  if (!html) {
    if (old) old.element.remove();
    shown.delete(index);
    return;
  }
  const fresh = document.createElement("div");
  fresh.className = "slice";
  fresh.dataset.row = index;
  fresh.innerHTML = html;
  if (old) old.element.replaceWith(fresh);
  else {
    // Nearly always the newest, so the search from the end is short.
    let before = rows.lastElementChild;
    while (before && Number(before.dataset.row) > index) before = before.previousElementSibling;
    if (before) before.after(fresh);
    else rows.prepend(fresh);
  }
  shown.set(index, { html, element: fresh });
}

function announce(index, text) {
  if (!text || announced.has(index)) return;
  announced.add(index);
  const line = document.createElement("p");
  line.textContent = text;
  log.append(line);
  while (log.childElementCount > 20) log.firstElementChild.remove();
}

function runClock([n, slice_s, isRunning]) {
  find(".clock").classList.toggle("still", !isRunning);
  find(".ring").classList.toggle("still", !isRunning);
  if (n === nTicks) return;
  nTicks = n;
  if (isCalm.matches) return;
  const timing = { duration: slice_s * 1000, fill: "forwards" };
  find(".clock i").animate({ transform: ["scaleX(0)", "scaleX(1)"] }, timing);
  find(".hand").animate({ strokeDashoffset: [1, 0] }, timing);
}

function showState(patch) {
  isGone = false; // a patch is proof of life
  find(".state").dataset.state = patch.state;
  setText(".label", patch.label);
  setText(".failure", patch.failure);
  if (patch.about) {
    setText(".badge", "");
    find(".badge").innerHTML = patch.about.badge;
    find(".badge").hidden = !patch.about.badge;
    find(".notice").innerHTML = patch.about.notice;
    find(".notice").hidden = !patch.about.notice;
  }
  const figures = find(".figures");
  if (figures.dataset.html !== patch.figures) {
    figures.dataset.html = figures.innerHTML = patch.figures;
  }
  runClock(patch.tick);
}

function showRows(patch) {
  const isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
  if (patch.reset !== nResets || patch.since < 0) clearRows();
  nResets = patch.reset;
  for (const [index, html, said] of patch.rows) {
    putRow(index, html);
    announce(index, said);
  }
  find(".hint").hidden = shown.size > 0;
  if (isAtEnd) scroll.scrollTop = scroll.scrollHeight;
}

function show() {
  // Gradio also calls when nothing changed; acting twice on one patch would send the box twice.
  if (!props.value || props.value === newest) return;
  newest = props.value;
  const patch = JSON.parse(props.value);
  if (patch.since > version) {
    // The browser joined too many patches into one. Once is enough to ask.
    if (askedAt !== version) trigger("behind", {});
    askedAt = version;
    return;
  }
  version = patch.version;
  showRows(patch);
  showState(patch);
  if (patch.state !== "busy") box.update(patch);
}

function showGone() {
  isGone = true;
  setText(".failure", "duplex-local is not running. Start it again, and this page goes on.");
  find(".state").dataset.state = "failed";
  setText(".label", "NOT RUNNING");
  runClock([nTicks, 0, false]);
}

// The process may end while the page is open. Gradio tells only who types, and begins the page anew
// when the process is back; so does this for who does not. Words in the box outlive that (box.js).
async function watchProcess() {
  try {
    const answer = await fetch("gradio_api/app_id", {
      cache: "no-store",
      signal: AbortSignal.timeout(PROCESS_TIMEOUT_MS),
    });
    if (!answer.ok) throw new Error(answer.statusText);
    const id = await answer.text();
    if (processId && id !== processId) location.reload();
    processId = id;
    nMissing = 0;
    if (isGone && newest) showState(JSON.parse(newest)); // it was only busy
  } catch {
    // Once is no proof: a laptop that wakes up has cut connections.
    nMissing += 1;
    if (nMissing >= 2) showGone();
  }
  setTimeout(watchProcess, PROCESS_EVERY_MS);
}

watch("value", show);
show();
watchProcess();

find(".stop").addEventListener("click", () => trigger("stopped", {}));
find(".renew").addEventListener("click", () => {
  trigger("renewed", {});
  find("textarea").focus();
});
find(".gear").addEventListener("click", (event) => {
  const isOpen = document.getElementById("settings").toggleAttribute("data-open");
  event.currentTarget.setAttribute("aria-expanded", String(isOpen));
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || box.isComposing()) return;
  if (find(".gear").getAttribute("aria-expanded") === "true") find(".gear").click();
  else trigger("stopped", {});
});
find("textarea").focus();
