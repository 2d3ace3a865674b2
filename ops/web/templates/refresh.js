// Fetches the page again and replaces changed parts. Keeps position, focus, open tables and selected text.
"use strict";
(() => {
  const EVERY = 10000;
  const main = () => document.getElementById("main");
  const keyed = (root) => [...root.querySelectorAll("[data-key]")];
  const clock = () => new Date().toISOString().slice(11, 19);
  const say = (text) => { document.getElementById("live").textContent = text; };
  const selected = () => !getSelection().isCollapsed;
  let waits = false;

  function keep(old, next) {
    const before = new Map(keyed(old).map((part) => [part.dataset.key, part]));
    for (const part of keyed(next)) {
      const was = before.get(part.dataset.key);
      if (was && was.open) part.open = true;
    }
  }

  function swap(next) {
    const focused = document.activeElement && document.activeElement.getAttribute("href");
    const places = keyed(main()).map((part) => [part.dataset.key, part.scrollLeft]);
    keep(main(), next);
    const [old, fresh] = [[...main().children], [...next.children]];
    if (old.length === fresh.length) {
      old.forEach((part, at) => { if (!part.isEqualNode(fresh[at])) part.replaceWith(fresh[at]); });
    } else {
      main().replaceChildren(...fresh);
    }
    for (const [key, left] of places) {
      const part = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
      if (part && part.scrollLeft !== left) part.scrollLeft = left;
    }
    if (focused && document.activeElement === document.body) {
      const again = main().querySelector(`[href="${CSS.escape(focused)}"]`);
      if (again) again.focus({ preventScroll: true });
    }
  }

  async function refresh() {
    if (document.hidden || waits) return;
    try {
      const response = await fetch(location.href, { cache: "no-cache" });
      const next = new DOMParser().parseFromString(await response.text(), "text/html");
      // Text may have been selected meanwhile.
      if (waits) return;
      if (!response.ok || !next.getElementById("live")) throw new Error(String(response.status));
      swap(next.getElementById("main"));
      for (const [selector, property] of [["title", "textContent"], ["link[rel=icon]", "href"]]) {
        const [old, fresh] = [document.querySelector(selector), next.querySelector(selector)];
        if (old[property] !== fresh[property]) old[property] = fresh[property];
      }
      say(`Looked at ${clock()} UTC.`);
    } catch {
      if (!waits) say(`Not refreshed at ${clock()} UTC: no answer. Trying again.`);
    }
  }

  // One stop of the Tab key for each timeline; arrows, Home and End move in it.
  document.addEventListener("keydown", (event) => {
    const here = event.target.closest && event.target.closest(".timeline a");
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!here || step === undefined) return;
    const all = [...here.closest(".timeline").querySelectorAll("a")];
    const next = all[Math.min(Math.max(all.indexOf(here) + step, 0), all.length - 1)];
    event.preventDefault();
    all.forEach((link) => link.setAttribute("tabindex", link === next ? "0" : "-1"));
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  });

  document.addEventListener("selectionchange", () => {
    if (waits === selected()) return;
    waits = !waits;
    if (waits) say(`Not refreshed while text is selected (since ${clock()} UTC).`);
    else refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, EVERY);
  say("Refreshes by itself.");
})();
