// The share page's button: asks the browser for the position, puts it into the form and sends that.
const button = document.getElementById("share");
const status = document.getElementById("share-status");
const manual = document.getElementById("manual");
const form = document.getElementById("position");

if (button && status && manual && form) {
  // What was wrong in the form stays in view.
  manual.open = manual.hasAttribute("data-wrong");
  if (navigator.geolocation) {
    button.hidden = false;
    button.addEventListener("click", () => {
      say("waiting");
      navigator.geolocation.getCurrentPosition(send, offerForm, {
        enableHighAccuracy: true,
        timeout: 20_000,
        maximumAge: 60_000,
      });
    });
    // Back from the next page, the buttons must work again.
    addEventListener("pageshow", (shown) => {
      if (shown.persisted) say("");
    });
  } else {
    say("unsupported");
    manual.open = true;
  }
}

function say(what) {
  status.textContent = status.dataset[what] ?? "";
  button.disabled = what === "waiting" || what === "sending";
}

function send({ coords }) {
  say("sending");
  // Seven decimals are a centimetre, and never an exponent.
  form.elements.lat.value = coords.latitude.toFixed(7);
  form.elements.lng.value = coords.longitude.toFixed(7);
  form.elements.accuracyMeters.value = Number.isFinite(coords.accuracy) ? String(Math.round(coords.accuracy)) : "";
  form.submit();
}

function offerForm({ code }) {
  say({ 1: "denied", 3: "timeout" }[code] ?? "unavailable");
  manual.open = true;
}
