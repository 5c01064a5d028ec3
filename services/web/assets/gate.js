// A gate: reads tickets with the camera or from the keyboard, and answers in colour, words and sound. It asks the server,
// and answers by itself (gate-door.js) where that is away. The token of the gate is after the # of the address.

const page = document.querySelector(".gate");
const [name, event, verdict, count, away, extras, aside] = [".gate-name", ".gate-event", ".verdict", ".gate-count", ".gate-offline", ".gate-extras", ".gate-aside"].map((one) => page.querySelector(one));
const headline = verdict.querySelector("strong");
const typed = page.querySelector(".typed");
const camera = page.querySelector(".camera");
const start = page.querySelector(".start-camera");
const gate = location.hash.slice(1);
const words = JSON.parse(page.querySelector(".gate-words").textContent);
const PATIENCE = 2000; // milliseconds for which somebody at the door waits for the server
const PAUSE = 3000; // milliseconds between two looks whether it is back
const FRESH = 300_000; // milliseconds for which a list is good enough
const SHOWN = 3000; // milliseconds for which a verdict stands
const GONE = 700; // milliseconds without a code after which it has left the picture, and is a new scan if it comes again

let door = null;
let offline = false;
let closed = false;
let sign = null; // what stands at the gate

// --- Asking ---

class Away extends Error {} // no answer, or one that is not from the service of tickets

class Refused extends Error {
  refused = true;
}

class Closed extends Refused {}

const isSign = (said) => typeof said?.name === "string" && typeof said.item_id === "string";
const isList = (said) => typeof said?.content === "string" && typeof said.signature === "string";
const isAnswer = (said) => typeof said?.result === "string" && said.result in words;

// What a gateway, a proxy or a café's network says stands for nothing: only Souk's services put an id on each answer.
async function ask(path, body, fits, patience = PATIENCE) {
  let answer, said;
  try {
    answer = await fetch(`/api/tickets/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
    });
    said = await answer.json();
  } catch {
    throw new Away();
  }
  if (!answer.headers.has("X-Request-ID")) throw new Away();
  if (answer.ok && fits(said)) return said;
  if (answer.status === 403 && said.code === "gate_closed") throw new Closed();
  if ([400, 413, 422].includes(answer.status)) throw new Refused();
  throw new Away();
}

function sendScans(scans) {
  return ask("scans", { scans }, (said) => Array.isArray(said) && said.length === scans.length && said.every(isAnswer), 20_000);
}

// --- Answering ---

let sound = null;

// Phones let a page make a sound only if it has asked for that while somebody touched it; and they take it back.
function allowSound() {
  sound ??= new AudioContext();
  if (sound.state !== "running") sound.resume().catch(() => {});
}

for (const touch of ["click", "touchend", "keydown"]) addEventListener(touch, allowSound, { capture: true, passive: true });

function beep(good) {
  if (!sound) return;
  for (const [index, pitch] of (good ? [880, 1320] : [220, 180, 150]).entries()) {
    const tone = sound.createOscillator();
    tone.type = good ? "sine" : "square";
    tone.frequency.value = pitch;
    tone.connect(sound.destination);
    tone.start(sound.currentTime + index * 0.14);
    tone.stop(sound.currentTime + index * 0.14 + 0.12);
  }
}

function show(tone, said, more = "") {
  verdict.className = `verdict ${tone}`;
  headline.textContent = said;
  verdict.querySelector("span").textContent = more;
  verdict.hidden = false;
  clearTimeout(fading);
}

let fading = 0;

// Shows a verdict that is about the one who stands here now: after a while it looks like no answer to the next one.
function showAnswer(tone, said, more) {
  show(tone, said, more);
  fading = setTimeout(() => verdict.classList.replace(tone, "over"), SHOWN);
}

function filled(text, values) {
  return text.replace(/{(\w+)}/g, (_, key) => values[key]);
}

function clock(moment) {
  return new Date(moment).toLocaleTimeString(document.documentElement.lang, { timeStyle: "short" });
}

let admitted = 0;
let tickets = 0;

function showCount() {
  count.textContent = filled(words.count, { admitted, tickets });
}

async function showState() {
  const waiting = door ? (await door.waiting()).length : 0;
  away.hidden = !(offline && door?.list) && !waiting;
  const refused = door ? await door.aside() : [];
  aside.replaceChildren(...refused.map(({ at, code, admitted: good }) => listed(filled(good ? words.refused_in : words.refused_out, { time: clock(at), code: code.slice(0, 20) }))));
  aside.hidden = !refused.length;
  const alone = door?.list ? filled(words.offline, { time: clock(door.list.at) }) : "";
  away.textContent = `${offline ? alone : words.sending} ${filled(words.waiting, { waiting })}`;
}

function listed(text) {
  const line = document.createElement("li");
  line.textContent = text;
  return line;
}

function showExtras(found) {
  for (const { number, first_admitted_at: at, gate: where, reason } of found) {
    const first = at ? filled(words.first, { time: clock(at), gate: where }) : "";
    const texts = { given_away: words.extra_given_away, revoked: words.extra_revoked };
    const text = filled(texts[reason] ?? words.extra, { number, time: at && clock(at), gate: where });
    extras.append(listed(reason in texts ? [text, first].filter(Boolean).join(" ") : text));
  }
  extras.hidden = !extras.children.length;
}

async function answered(scan) {
  // What waits is not known to the server, so its answer may be wrong.
  if (!offline && !(await door.waiting()).length) {
    try {
      const answer = await ask("scan", door.body(scan), isAnswer);
      await door.settle(scan, answer);
      return answer;
    } catch (error) {
      if (error instanceof Closed) {
        await door.settle(scan, { result: "closed" });
        return { result: "closed" };
      }
      if (error instanceof Refused) {
        await door.setAside(scan);
        return { result: "unknown" };
      }
      if (!(error instanceof Away)) throw error;
      offline = true;
    }
  }
  return door.list ? door.judge(scan) : { result: "away" };
}

let busy = false;

// Returns whether it was checked: not while another code is.
async function check(code) {
  if (busy) return false;
  busy = true;
  try {
    show("waiting", "…");
    const answer = await answered(await door.begin(code));
    const good = answer.result === "admitted";
    const { first_admitted_at: at, gate: where } = answer;
    const first = !good && at ? filled(words.first, { time: clock(at), gate: where }) : "";
    showAnswer(good ? "good" : "bad", words[answer.result], [answer.number, first].filter(Boolean).join(" · "));
    beep(good);
    if (good) {
      admitted += 1;
      showCount();
    }
  } catch {
    showAnswer("bad", words.broken); // This device cannot write anything down, so nobody is let in.
    beep(false);
  } finally {
    busy = false;
    await showState();
  }
  return true;
}

// --- Coming back ---

async function refresh() {
  sign = await ask("gates/sign", { gate }, isSign);
  await door.take(await ask("gates/list", { gate }, isList, 20_000), sign);
  showSign();
}

// Sends what waits and fetches the list anew, as soon as the server is there. A closed gate still sends.
async function keepUp() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    try {
      if (busy) continue;
      const waits = (await door.waiting()).length > 0;
      if (waits) showExtras(await door.send(sendScans));
      if (closed || (!offline && !waits && door.now() - Date.parse(door.list?.at ?? 0) < FRESH)) continue;
      await refresh();
      offline = false;
    } catch (error) {
      closed ||= error instanceof Closed;
      offline = !closed && (offline || error instanceof Away);
    } finally {
      await showState();
    }
  }
}

// --- Reading ---

typed.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const code = typed.elements.code.value.trim();
  typed.reset();
  typed.elements.code.focus();
  if (code) check(code);
});

// Reads the QR in a picture of the camera: with the browser's own detector, else with a library.
async function reader() {
  const formats = "BarcodeDetector" in window ? await BarcodeDetector.getSupportedFormats().catch(() => []) : [];
  if (formats.includes("qr_code")) {
    const detector = new BarcodeDetector({ formats: ["qr_code"] });
    return async () => (await detector.detect(camera).catch(() => []))[0]?.rawValue ?? "";
  }
  await import(page.dataset.gateReader);
  const canvas = document.createElement("canvas");
  const picture = canvas.getContext("2d", { willReadFrequently: true });
  return async () => {
    const scale = Math.min(1, 800 / camera.videoWidth);
    [canvas.width, canvas.height] = [camera.videoWidth * scale, camera.videoHeight * scale].map(Math.round);
    picture.drawImage(camera, 0, 0, canvas.width, canvas.height);
    const { data, width, height } = picture.getImageData(0, 0, canvas.width, canvas.height);
    return jsQR(data, width, height, { inversionAttempts: "dontInvert" })?.data ?? "";
  };
}

async function watch() {
  start.hidden = true;
  let read;
  try {
    [read, camera.srcObject] = await Promise.all([reader(), navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } })]);
    await camera.play();
  } catch {
    show("bad", words.no_camera);
    return;
  }
  camera.hidden = false;
  let held = { code: "", seen: 0 }; // what is in the picture and was checked, until it has left
  for (;;) {
    const code = camera.readyState >= 2 ? await read() : "";
    if (code && code !== held.code) {
      if (await check(code)) held = { code, seen: Date.now() };
    } else if (code) {
      held.seen = Date.now();
      if (verdict.classList.contains("over") && headline.textContent !== words.still) show("over", words.still); // Who stands here now has shown nothing yet.
    } else if (Date.now() - held.seen > GONE) {
      held = { code: "", seen: 0 };
      if (headline.textContent === words.still) verdict.hidden = true;
    }
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
}

// --- Opening ---

// Shows what stands at the gate; the first time, people can be scanned from now on.
function showSign() {
  ({ admitted, tickets } = sign);
  name.textContent = sign.name;
  event.textContent = sign.item_title;
  showCount();
  if (!typed.hidden) return;
  verdict.hidden = true;
  typed.hidden = false;
  start.hidden = !navigator.mediaDevices;
  start.addEventListener("click", watch);
}

// Whether the server is there or not, and also at a closed gate: what waits is sent, sooner or later.
async function open() {
  if (!gate) throw new Closed();
  const [{ Door }, { verifyAsync }] = await Promise.all([import(page.dataset.gateDoor), import(page.dataset.gateVerifier)]);
  door = await Door.open(gate, verifyAsync);
  try {
    await refresh();
  } catch (error) {
    if (!(error instanceof Away || error instanceof Closed)) throw error;
    closed = error instanceof Closed;
    offline = !closed;
    sign = door.list?.sign;
    if (closed || !sign) show("bad", closed ? words.closed : words.away);
    else showSign();
  }
  await showState();
  keepUp();
}

// The link of another gate changes only what is after the #, which loads no page.
addEventListener("hashchange", () => /^#[\w-]{20,}$/.test(location.hash) && location.reload());
// What waits to be sent must not be thrown away when the phone needs room.
navigator.storage?.persist?.().catch(() => {});
// Where there is none (a private window), the page works as long as the network does.
navigator.serviceWorker?.register("/gate-worker.js", { scope: "/gate" }).then(
  () => navigator.serviceWorker.ready.then(() => (page.dataset.gateKept = "yes")),
  () => {},
);
open().catch((error) => show("bad", error instanceof Closed ? words.closed : words.away));
