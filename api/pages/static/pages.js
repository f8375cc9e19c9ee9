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
  const streamed = () => document.getElementById("live");
  const draw = () => window.htmx.trigger(streamed(), "changed");

  // A page is drawn again every two seconds at most, and more seldom where that takes long.
  let begunAt = 0;
  let freeAt = 0;
  let waits = 0;
  const drawInTime = () => {
    waits = 0;
    if (!streamed()) return;
    begunAt = performance.now();
    freeAt = begunAt + 2000;
    draw();
  };
  document.addEventListener("htmx:sse:before:message", (event) => {
    event.preventDefault();
    if (isPaused) hasMissed = true;
    else waits ||= setTimeout(drawInTime, Math.max(0, freeAt - performance.now()));
  });

  // The stream begins when the tab is looked at: browsers open few connections to one host, and
  // tabs that were opened behind this one would take them all. The library lets go of it in a tab
  // that was left.
  let isBegun = false;
  let connection = null;
  const begin = () => {
    if (isBegun || document.hidden || !streamed()) return;
    isBegun = true;
    window.htmx.trigger(streamed(), "begin");
  };
  const end = () => {
    streamed()?.remove();
    connection?.reader?.cancel();
  };
  document.addEventListener("htmx:sse:before:connection", (event) => {
    connection = event.detail.connection;
  });
  // There was no place for it: another try later.
  document.addEventListener("htmx:after:request", (event) => {
    const { sourceElement, response } = event.detail.ctx;
    if (sourceElement !== streamed() || !response || response.status < 400) return;
    setTimeout(() => {
      isBegun = false;
      begin();
    }, 30000);
  });
  // The session has ended: the page says so, once.
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status !== 401) return;
    draw();
    end();
  });
  document.addEventListener("visibilitychange", begin);
  setTimeout(begin); // after the library's own, which makes it hear of this

  document.addEventListener("htmx:after:swap", () => {
    freeAt = Math.max(freeAt, performance.now() + 5 * (performance.now() - begunAt));
    // What is drawn now changes no more, or is for nobody who is signed out.
    if (!document.getElementById("main").hasAttribute("hx-get")) end();
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
        drawInTime();
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
