// A gate: reads tickets with the camera or from the keyboard, and answers in colour, words and sound. It asks the server,
// and answers by itself (gate-door.js) where that is away. The token of the gate is after the # of the address.

const page = document.querySelector(".gate");
const [name, event, verdict, count, away, extras] = [".gate-name", ".gate-event", ".verdict", ".gate-count", ".gate-offline", ".gate-extras"].map((one) => page.querySelector(one));
const typed = page.querySelector(".typed");
const camera = page.querySelector(".camera");
const start = page.querySelector(".start-camera");
const gate = location.hash.slice(1);
const words = JSON.parse(page.querySelector(".gate-words").textContent);
const PATIENCE = 2000; // milliseconds for which somebody at the door waits for the server
const PAUSE = 3000; // milliseconds between two looks whether it is back
const FRESH = 300_000; // milliseconds for which a list is good enough
const SHOWN = 2500; // milliseconds for which the camera does not read the same code again

let door = null;
let offline = false;

// --- Asking ---

class Away extends Error {}
class Closed extends Error {}

async function ask(path, body, patience = PATIENCE) {
  let answer;
  try {
    answer = await fetch(`/api/tickets/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
    });
    if (answer.ok) return await answer.json();
  } catch {
    throw new Away();
  }
  if (answer.status >= 500 || answer.status === 429) throw new Away();
  if (answer.status === 403) throw new Closed();
  return { result: "unknown" };
}

// --- Answering ---

let sound = null;

function beep(good) {
  sound ??= new AudioContext();
  for (const [index, pitch] of (good ? [880, 1320] : [220, 180, 150]).entries()) {
    const tone = sound.createOscillator();
    tone.type = good ? "sine" : "square";
    tone.frequency.value = pitch;
    tone.connect(sound.destination);
    tone.start(sound.currentTime + index * 0.14);
    tone.stop(sound.currentTime + index * 0.14 + 0.12);
  }
}

function show(tone, headline, more = "") {
  verdict.className = `verdict ${tone}`;
  verdict.querySelector("strong").textContent = headline;
  verdict.querySelector("span").textContent = more;
  verdict.hidden = false;
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
  away.hidden = !offline && !waiting;
  const since = door?.list ? clock(door.list.at) : "";
  away.textContent = `${offline ? filled(words.offline, { time: since }) : words.sending} ${filled(words.waiting, { waiting })}`;
}

function showExtras(found) {
  for (const { number, first_admitted_at: at, gate: where } of found) {
    const line = document.createElement("li");
    line.textContent = filled(words.extra, { number, time: clock(at), gate: where });
    extras.append(line);
  }
  extras.hidden = !extras.children.length;
}

async function answered(scan) {
  // What waits is not known to the server, so its answer may be wrong.
  if (!offline && !(await door.waiting()).length) {
    try {
      const answer = await ask("scan", door.body(scan));
      await door.settle(scan, answer);
      return answer;
    } catch (error) {
      if (!(error instanceof Closed || error instanceof Away)) throw error;
      if (error instanceof Closed) {
        await door.settle(scan, { result: "closed" });
        return { result: "closed" };
      }
      offline = true;
    }
  }
  return door.list ? door.judge(scan) : { result: "away" };
}

let busy = false;

async function check(code) {
  if (busy) return;
  busy = true;
  try {
    show("waiting", "…");
    const answer = await answered(await door.begin(code));
    const good = answer.result === "admitted";
    const { first_admitted_at: at, gate: where } = answer;
    const first = !good && at ? filled(words.first, { time: clock(at), gate: where }) : "";
    show(good ? "good" : "bad", words[answer.result], [answer.number, first].filter(Boolean).join(" · "));
    beep(good);
    if (good) {
      admitted += 1;
      showCount();
    }
  } catch {
    show("bad", words.broken); // This device cannot write anything down, so nobody is let in.
    beep(false);
  } finally {
    busy = false;
    await showState();
  }
}

// --- Coming back ---

async function refresh() {
  const sign = await ask("gates/sign", { gate });
  ({ admitted, tickets } = sign);
  await door.take(await ask("gates/list", { gate }, 20_000), sign);
  return sign;
}

// Sends what waits and fetches the list anew, as soon as the server is there.
async function keepUp() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    try {
      if (busy) continue;
      const waits = (await door.waiting()).length > 0;
      if (waits) showExtras(await door.send((scans) => ask("scans", { scans }, 20_000)));
      if (!offline && !waits && Date.now() - Date.parse(door.list?.at ?? 0) < FRESH) continue;
      await refresh();
      offline = false;
      showCount();
    } catch (error) {
      offline = offline || error instanceof Away;
    }
    await showState();
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
  let last = { code: "", at: 0 };
  for (;;) {
    const code = camera.readyState >= 2 ? await read() : "";
    if (code && (code !== last.code || Date.now() - last.at > SHOWN)) await check(code);
    if (code) last = { code, at: Date.now() };
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
}

// --- Opening ---

async function open() {
  if (!gate) throw new Closed();
  const [{ Door }, { verifyAsync }] = await Promise.all([import(page.dataset.gateDoor), import(page.dataset.gateVerifier)]);
  door = await Door.open(gate, verifyAsync);
  let sign;
  try {
    sign = await refresh();
  } catch (error) {
    if (!(error instanceof Away) || !door.list) throw error;
    offline = true;
    sign = door.list.sign;
    ({ admitted, tickets } = sign);
  }
  verdict.hidden = true;
  name.textContent = sign.name;
  event.textContent = sign.item_title;
  showCount();
  typed.hidden = false;
  start.hidden = !navigator.mediaDevices;
  start.addEventListener("click", watch);
  await showState();
  keepUp();
}

// Where there is none (a private window), the page works as long as the network does.
navigator.serviceWorker?.register("/gate-worker.js", { scope: "/gate" }).then(
  () => navigator.serviceWorker.ready.then(() => (page.dataset.gateKept = "yes")),
  () => {},
);
open().catch((error) => show("bad", error instanceof Closed ? words.closed : words.away));
