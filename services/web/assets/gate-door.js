// What a gate does by itself: it keeps the signed list of the event's tickets and its own scans in IndexedDB, judges codes
// without a network, and sends later what it has done. A scan is written before it is answered.

const NUMBER = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; // as in common.order_numbers
const TYPED = /^([0-9A-HJKMNP-TV-Z]{4})([0-9A-HJKMNP-TV-Z]{4})([0-9]{1,6})([A-HJKMNP-TV-Z][0-9A-HJKMNP-TV-Z]{3})?$/;
const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const CODE = { format: 1, length: 165, signed: 39 }; // as in tickets.codes
const MOST = 100; // scans that are sent together
const LONGEST = 500; // characters of a code that the server takes: what is longer is no ticket
const PATIENCE = 60_000; // milliseconds after which a scan gets no answer any more

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function opened() {
  const request = indexedDB.open("souk-gate", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("scans", { keyPath: "seq", autoIncrement: true }); // from 1, without a gap
    request.result.createObjectStore("admitted"); // by ticket, on this device
    request.result.createObjectStore("lists"); // by gate
    request.result.createObjectStore("facts");
  };
  return result(request);
}

// Runs `work` with these stores in one transaction, and returns once it is on the disk.
async function writing(db, stores, work) {
  const transaction = db.transaction(stores, "readwrite", { durability: "strict" });
  const written = new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  const found = await work(...stores.map((name) => transaction.objectStore(name)));
  await written;
  return found;
}

function bytes(base64url) {
  return Uint8Array.from(atob(base64url.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
}

function hex(of) {
  return Array.from(of, (one) => one.toString(16).padStart(2, "0")).join("");
}

function fromBase32(text) {
  const out = [];
  let [buffer, bits] = [0, 0];
  for (const letter of text) {
    const value = BASE32.indexOf(letter);
    if (value < 0) return null;
    buffer = ((buffer << 5) | value) & 0xffff;
    bits += 5;
    if (bits >= 8) out.push((buffer >> (bits -= 8)) & 255);
  }
  return Uint8Array.from(out);
}

// The number of a ticket that people read out, as its first holder has it.
export function numberOf(ticket) {
  const [order, unit] = ticket.split("-");
  const letters = BigInt(`0x${order.slice(-10)}`).toString(2).padStart(40, "0").match(/.{5}/g);
  const number = letters.map((five) => NUMBER[parseInt(five, 2)]).join("");
  return `${number.slice(0, 4)}-${number.slice(4)}-${unit}`;
}

// The number without its check, and the check, as somebody has typed them.
function asTyped(text) {
  const plain = text.toUpperCase().replace(/[\s-]/g, "").replace(/O/g, "0").replace(/[IL]/g, "1");
  const [, first, second, unit, check] = plain.match(TYPED) ?? [];
  return first ? { number: `${first}-${second}-${Number(unit)}`, check: check ?? "" } : {};
}

// What ends the number of each generation of a ticket, the first of which has nothing.
function checksOf(listed) {
  return ["", ...(listed?.checks ?? [])];
}

export class Door {
  // `verify(signature, message, key)` is that of Ed25519.
  static async open(gate, verify) {
    const door = new Door();
    Object.assign(door, { gate, verify, db: await opened(), list: null, skew: 0 });
    door.device = await writing(door.db, ["facts"], async (facts) => {
      const known = (await result(facts.get("device"))) ?? crypto.randomUUID();
      facts.put(known, "device");
      return known;
    });
    // A server that refuses a scan today may know better when the page is opened again.
    await writing(door.db, ["scans"], async (scans) => {
      for (const { refused, ...scan } of await result(scans.getAll())) if (refused) scans.put(scan);
    });
    const kept = await result(door.db.transaction("lists").objectStore("lists").get(gate));
    if (kept) await door.read(kept);
    return door;
  }

  // The time by the clock of the server, as it was when the list came.
  now() {
    return Date.now() + this.skew;
  }

  // Takes a list if its signature is right; `sign` is what stands at the gate.
  async take(list, sign) {
    const kept = { ...list, sign, skew: Date.parse(JSON.parse(list.content).at) - Date.now() };
    if (await this.read(kept)) await writing(this.db, ["lists"], (lists) => result(lists.put(kept, this.gate)));
  }

  async read({ content, kid, signature, keys, sign, skew = 0 }) {
    const key = keys[kid];
    if (!key || !(await this.verify(bytes(signature), new TextEncoder().encode(content), bytes(key)))) return false;
    const { item_id, at, tickets } = JSON.parse(content);
    const numbers = new Map();
    for (const { id } of tickets) numbers.set(numberOf(id), numbers.has(numberOf(id)) ? null : id);
    this.skew = skew;
    this.list = { item: item_id, at, keys, sign, numbers, tickets: new Map(tickets.map((one) => [one.id, one])) };
    return true;
  }

  // Writes down that there was a scan, before anybody is asked about it.
  async begin(code) {
    const scan = { code: [...code].slice(0, LONGEST).join(""), gate: this.gate, at: new Date(this.now()).toISOString() };
    scan.seq = await writing(this.db, ["scans"], (scans) => result(scans.add(scan)));
    return scan;
  }

  body({ code, gate, seq, at }) {
    return { code, gate, device: this.device, seq, at };
  }

  // The server has answered: the scan need not be sent, and who was let in is known here too.
  async settle(scan, { result: said, first_admitted_at: at, gate }) {
    const ticket = said === "admitted" || said === "already_used" ? await this.claim(scan.code) : null;
    await writing(this.db, ["scans", "admitted"], (scans, admitted) => {
      if (ticket && at) admitted.put({ at, gate, generation: ticket.generation }, ticket.id);
      return result(scans.delete(scan.seq));
    });
  }

  // Answers without the server, as it would with what is known here.
  async judge(scan) {
    const ticket = await this.claim(scan.code);
    const listed = ticket && this.list.tickets.get(ticket.id);
    return writing(this.db, ["scans", "admitted"], async (scans, admitted) => {
      const known = ticket ? await result(admitted.get(ticket.id)) : undefined;
      // Whom an older code has let in has not used up the ticket, which is somebody else's since then.
      const first = known?.generation < ticket?.generation ? undefined : known;
      const said = this.verdict(ticket, listed, first);
      scans.put({ ...scan, admitted: said === "admitted", list_at: this.list.at });
      if (said === "admitted") admitted.put({ at: scan.at, gate: this.list.sign.name, generation: ticket.generation }, ticket.id);
      const number = ticket && said !== "wrong_event" ? this.numberOf(ticket, listed) : null;
      return { result: said, number, first_admitted_at: first?.at ?? null, gate: first?.gate ?? null };
    });
  }

  // The number as who stands there has it.
  numberOf(ticket, listed) {
    const check = checksOf(listed)[ticket.generation - 1];
    return numberOf(ticket.id) + (check ? `-${check}` : "");
  }

  verdict(ticket, listed, first) {
    if (!ticket) return "unknown";
    if (ticket.item !== this.list.item) return "wrong_event";
    if (listed?.status === "revoked" || ticket.generation < listed?.generation) return "revoked";
    return first || listed?.status === "used" ? "already_used" : "admitted"; // not listed: sold since then
  }

  // The ticket that a code surely stands for, and the generation of it. A number stands for one if exactly one of the list
  // has it; its check says which generation.
  async claim(code) {
    const text = code.trim().toUpperCase();
    if (text.length !== CODE.length) {
      const { number, check } = asTyped(code);
      const id = this.list?.numbers.get(number);
      const generation = id ? checksOf(this.list.tickets.get(id)).lastIndexOf(check) + 1 : 0;
      return generation ? { id, item: this.list.item, generation } : null;
    }
    const content = fromBase32(text);
    const key = content?.[0] === CODE.format && this.list?.keys[hex(content.slice(1, 3))];
    if (!key) return null;
    const signed = content.slice(0, CODE.signed);
    if (!(await this.verify(content.slice(CODE.signed), signed, bytes(key)))) return null;
    const [unit, generation] = [35, 37].map((at) => content[at] * 256 + content[at + 1]);
    return { id: `${hex(content.slice(3, 19))}-${unit}`, item: hex(content.slice(19, 35)), generation };
  }

  // The server has refused the scan itself: it is kept, to be shown, and stops no other one.
  async setAside(scan) {
    await writing(this.db, ["scans"], (scans) => result(scans.put({ ...scan, admitted: scan.admitted ?? false, refused: true })));
  }

  async aside() {
    return (await this.scans()).filter(({ refused }) => refused);
  }

  scans() {
    return result(this.db.transaction("scans").objectStore("scans").getAll());
  }

  // The scans that were answered without the server, the oldest first, also those of a gate that this phone had before.
  // One that never got an answer, because the page ended, has let in nobody.
  async waiting() {
    const over = ({ admitted, at }) => admitted !== undefined || this.now() - Date.parse(at) > PATIENCE;
    return (await this.scans()).filter((scan) => !scan.refused && over(scan));
  }

  // Sends what waits with `post`, which returns the answers. Returns those to who was let in and should not have been.
  async send(post) {
    const extras = [];
    for (;;) {
      const scans = (await this.waiting()).slice(0, MOST);
      if (!scans.length) return extras;
      extras.push(...(await this.deliver(scans, post)));
    }
  }

  // If the server refuses them, each half is sent alone, down to the one that is wrong.
  async deliver(scans, post) {
    let answers;
    try {
      answers = await post(scans.map((scan) => ({ ...this.body(scan), admitted: scan.admitted ?? false, list_at: scan.list_at })));
    } catch (error) {
      if (!error.refused) throw error;
      if (scans.length === 1) {
        await this.setAside(scans[0]);
        return [];
      }
      const half = scans.length >> 1;
      return [...(await this.deliver(scans.slice(0, half), post)), ...(await this.deliver(scans.slice(half), post))];
    }
    await writing(this.db, ["scans"], (store) => Promise.all(scans.map(({ seq }) => result(store.delete(seq)))));
    return answers.filter(({ extra }) => extra);
  }
}
