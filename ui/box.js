// The text box. The engine takes whole words from its front while the user types on; the box
// gives them away and loses nothing. No rule of the conversation is here.
//
// makeBox(root, tell): tell(event, data) sends to the engine. Returns { update, isComposing }.
function makeBox(root, tell) {
  const kept = "duplex-local: unheard"; // where the words wait while a page begins anew
  const area = root.querySelector("textarea");
  const said = root.querySelector(".said");
  const refusal = root.querySelector(".refusal");
  let revision = 0; // inputs so far: requests may overtake each other
  let nTaken = 0; // characters (code points, as in Python) that left the box for the engine
  let composing = false; // an input method is at work: its text is not the user's word yet
  let taken = [0, ""]; // the newest news about taken words
  let sent = null; // { text, heard }: what Enter sent, until it is known to have arrived
  let heard = 0;
  let nRefused = 0;
  let nResets = 0;

  function content() {
    const text = area.value.toWellFormed ? area.value.toWellFormed() : area.value;
    if (text !== area.value) area.value = text; // half an emoji cannot travel
    return { text, revision: ++revision, n_taken: nTaken };
  }

  function fit() {
    area.style.height = "auto";
    area.style.height = area.scrollHeight + "px";
  }

  // Taken words go from the front of the box, if they still stand there.
  function strip() {
    const nNew = taken[0] - nTaken;
    if (nNew <= 0 || composing) return;
    nTaken = taken[0];
    const words = Array.from(taken[1]).slice(-nNew).join("");
    if (area.value.startsWith(words)) {
      area.setRangeText("", 0, words.length, "preserve");
      fit();
    }
  }

  function showSaid(text) {
    said.textContent = text;
    said.hidden = !text;
    // The words still to be said begin where the said ones end, as on one line.
    area.style.textIndent = text ? said.offsetWidth + "px" : "";
    fit();
  }

  // Nobody listens in a tab that waits for its place, or whose conversation failed.
  function isHeard() {
    return ["idle", "listening", "speaking"].includes(root.querySelector(".state").dataset.state);
  }

  function send() {
    if (!area.value.trim() || !isHeard()) return;
    const box = content();
    sent = { text: box.text, heard };
    nTaken += Array.from(box.text).length; // sent characters have left the box, too
    area.value = "";
    fit();
    tell("sent", box);
  }

  function refuse(message) {
    refusal.textContent = message;
    refusal.hidden = !message;
  }

  // Everything that nobody heard: what was sent and not taken, and what stands in the box.
  function unheard() {
    const isLost = sent !== null && sent.heard === heard;
    return [isLost ? sent.text : "", area.value].filter(Boolean).join(" ");
  }

  function giveBack() {
    area.value = unheard();
    sent = null;
    fit();
  }

  // A page that begins anew, because its process did, keeps these words.
  window.addEventListener("pagehide", () => sessionStorage.setItem(kept, unheard()));
  area.value = sessionStorage.getItem(kept) || "";
  sessionStorage.removeItem(kept);

  area.addEventListener("input", (event) => {
    fit();
    if (!composing && !event.isComposing) tell("typed", content());
  });
  area.addEventListener("compositionstart", () => {
    composing = true;
  });
  area.addEventListener("compositionend", () => {
    composing = false;
    strip();
    tell("typed", content());
  });
  area.addEventListener("keydown", (event) => {
    // Safari ends a composition before the Enter that ended it; keyCode 229 gives it away.
    const isInputMethod = composing || event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || isInputMethod) return;
    event.preventDefault();
    send();
  });

  return {
    isComposing: () => composing,
    update(patch) {
      heard = patch.heard;
      taken = patch.taken;
      strip();
      if (said.textContent !== patch.said) showSaid(patch.said);
      if (patch.refused[0] !== nRefused) {
        nRefused = patch.refused[0];
        giveBack();
      }
      refuse(patch.refused[1]);
      const isAnew = patch.reset !== nResets || "about" in patch;
      nResets = patch.reset;
      if (isAnew) sent = null;
      // What was typed before the conversation began is not known to the engine.
      if (isAnew && area.value && !composing) tell("typed", content());
    },
  };
}

