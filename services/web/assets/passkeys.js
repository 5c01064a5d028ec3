// Passkeys: a form with `data-passkey` asks the browser to make one (`create`) or to sign with one (`get`), and sends the
// answer in its field `credential`. Options are on the form, or come from the address in `data-options-from`.

const supported = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON);
let waiting = null; // a sign-in that waits in the browser's autofill

async function optionsOf({ dataset }) {
  if (dataset.options) return JSON.parse(dataset.options);
  const answer = await fetch(dataset.optionsFrom, { method: "POST" });
  return answer.json();
}

async function credentialOf(form, more) {
  const options = await optionsOf(form);
  if (form.dataset.passkey === "create") {
    return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  }
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options), ...more });
}

async function send(form, more) {
  form.elements.credential.value = JSON.stringify(await credentialOf(form, more));
  form.submit();
}

async function ask(form) {
  const alert = form.querySelector("[role=alert]");
  const button = form.querySelector("button");
  waiting?.abort();
  alert.textContent = "";
  button.disabled = true;
  try {
    await send(form);
  } catch (error) {
    alert.textContent = (error.name === "InvalidStateError" && form.dataset.known) || form.dataset.failed;
    button.disabled = false;
  }
}

async function offer(form) {
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  waiting = new AbortController();
  // Nobody has asked for it: if it fails, there is nothing to say.
  await send(form, { mediation: "conditional", signal: waiting.signal }).catch(() => {});
}

for (const part of document.querySelectorAll("[data-with-passkeys]")) part.hidden = !supported;
for (const part of document.querySelectorAll("[data-without-passkeys]")) part.hidden = supported;

for (const form of supported ? document.querySelectorAll("form[data-passkey]") : []) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation(); // `send` submits the form later.
    ask(form);
  });
  if ("autofill" in form.dataset) offer(form);
  if ("start" in form.dataset && !form.querySelector("[role=alert]").textContent) ask(form);
}
