// Paying with a real card: Stripe's own element takes it, and our form sends only the id of Stripe's confirmation token.

const root = document.documentElement;
const key = document.querySelector("meta[name=stripe-key]").content;
const stripe = window.Stripe?.(key, { locale: root.lang.slice(0, 2) });
const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "night" : "stripe";

// Shows a message (an empty one clears the last) and lets the visitor try again.
function showError(place, message) {
  place.querySelector("[role=alert]").textContent = message;
  for (const button of place.querySelectorAll("button")) button.disabled = false;
}

// --- The card ---

function takeCard(form) {
  const alert = form.querySelector("[role=alert]");
  if (!stripe) {
    alert.textContent = alert.dataset.away;
    return;
  }
  const elements = stripe.elements({
    mode: "payment",
    amount: Number(form.dataset.amount),
    currency: form.dataset.currency,
    allowedPaymentMethodTypes: ["card"],
    appearance: { theme },
  });
  const card = elements.create("payment", { wallets: { applePay: "never", googlePay: "never", link: "never" } });
  card.on("ready", () => showError(form, ""));
  card.on("loaderror", () => (alert.textContent = alert.dataset.away));
  card.mount(form.querySelector(".card-element"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation(); // `pay` submits the form later.
    pay(form, elements);
  });
}

async function pay(form, elements) {
  showError(form, "");
  form.querySelector("button").disabled = true;
  const { error: incomplete } = await elements.submit();
  const made = incomplete ? { error: incomplete } : await stripe.createConfirmationToken({ elements });
  if (made.error) {
    showError(form, made.error.message);
    return;
  }
  form.elements.payment_method.value = made.confirmationToken.id;
  form.submit();
}

// --- Confirming with the bank ---

async function confirm(place) {
  const { clientSecret } = place.dataset;
  place.querySelector("button").disabled = true;
  try {
    const { error } = await stripe.handleNextAction({ clientSecret });
    if (error) showError(place, error.message);
  } catch {
    // Stripe throws if there is nothing left to confirm. The page is about to show the result.
  }
  document.body.dispatchEvent(new Event("refresh"));
}

function start(justOpened) {
  const form = document.querySelector("form[data-amount]");
  if (form && !form.querySelector(".card-element").childElementCount) takeCard(form);
  const place = document.querySelector("[data-client-secret]");
  if (!place || !stripe) return;
  place.querySelector("button").addEventListener("click", () => confirm(place));
  if (justOpened) confirm(place); // A buyer who has paid in another window confirms there, or presses the button.
}

document.body.addEventListener("htmx:afterSettle", () => start(false));
start(true);
