// What every page of keyturn shares: theme, copying, printing, links into what is folded. Nothing here is
// needed to read a page. Text is only ever moved as text, never as markup.
"use strict";
(() => {
  const root = document.documentElement;
  const live = document.getElementById("live");
  const say = (words) => { live.textContent = words; };

  // Theme: follows the system until a choice is made; the choice is kept where the browser lets a file keep it.
  const buttons = [...document.querySelectorAll(".theme button")];
  const setTheme = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.set === theme));
  };
  const kept = (() => { try { return localStorage.getItem("keyturn-theme"); } catch { return null; } })();
  setTheme(kept === "light" || kept === "dark" ? kept : "auto");
  for (const b of buttons) b.addEventListener("click", () => {
    setTheme(b.dataset.set);
    try { localStorage.setItem("keyturn-theme", b.dataset.set); } catch { /* a file may keep nothing */ }
  });
  document.querySelector(".theme").hidden = false;

  for (const b of document.querySelectorAll(".copy")) {
    const source = document.getElementById(b.dataset.copy);
    b.hidden = false;
    b.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        say("Copied.");
        b.textContent = "Copied";
      } catch {
        const range = document.createRange();
        range.selectNodeContents(source);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        say("Selected: copy with your keyboard.");
        b.textContent = "Selected";
      }
    });
  }

  // On paper everything is open but what the style sheet leaves out there.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const d of opened) d.open = true;
  });
  addEventListener("afterprint", () => { for (const d of opened) d.open = false; opened = []; });

  // A link to what stands behind a summary opens it.
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    let closed = false;
    for (let e = target; e; e = e.parentElement) if (e.localName === "details" && !e.open) e.open = closed = true;
    if (closed) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
  globalThis.keyturn = { say };
})();
