// What pages do beyond links and forms: the live switch, copying, choosing all, shorter addresses.
(() => {
  "use strict";
  const said = (text) => {
    const place = document.getElementById("said");
    if (place) place.textContent = text;
  };

  // The live switch: while it is off, changes are noted and shown when it is on again.
  let isPaused = sessionStorage.getItem("longtake-paused") === "yes";
  let hasMissed = false;
  const show = () => {
    for (const button of document.querySelectorAll("[data-live]")) {
      button.setAttribute("aria-pressed", String(!isPaused));
      button.querySelector("[data-live-word]").textContent = isPaused ? "Paused" : "Live";
    }
  };
  document.addEventListener("htmx:sse:before:message", (event) => {
    if (!isPaused) return;
    hasMissed = true;
    event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", () => {
    show();
    for (const form of document.querySelectorAll("[data-choices]")) count(form);
  });

  document.addEventListener("click", (event) => {
    const live = event.target.closest("[data-live]");
    if (live) {
      isPaused = !isPaused;
      sessionStorage.setItem("longtake-paused", isPaused ? "yes" : "no");
      show();
      said(isPaused ? "Updates are paused" : "Updates are live");
      if (!isPaused && hasMissed) {
        hasMissed = false;
        window.htmx.trigger(document.getElementById("live"), "changed");
      }
      return;
    }
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const text = document.getElementById(copy.dataset.copy).textContent;
      navigator.clipboard.writeText(text).then(
        () => said("Copied"),
        () => said("The browser did not allow copying"),
      );
    }
  });

  // Choosing all jobs of a page, and saying how many are chosen.
  const boxesOf = (form) => [...form.querySelectorAll("input[name=job]")];
  const count = (form) => {
    const place = form.querySelector("[data-count]");
    const chosen = boxesOf(form).filter((box) => box.checked).length;
    if (place) place.textContent = chosen ? `${chosen} chosen:` : "Chosen jobs:";
  };
  document.addEventListener("change", (event) => {
    const form = event.target.closest("[data-choices]");
    if (!form) return;
    if (event.target.matches("[data-all]")) {
      for (const box of boxesOf(form)) box.checked = event.target.checked;
    }
    count(form);
  });

  // Empty filters stay out of the address.
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-filters]")) return;
    for (const field of event.target.elements) {
      if (field.name && !field.value) field.disabled = true;
    }
  });

  show();
})();
