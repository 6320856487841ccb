// What only the report has, after shared.js: where in the page one is, and completions token by token.
(() => {
  const { say } = globalThis.keyturn;
  for (const a of document.querySelectorAll(".contents a")) a.addEventListener("click", () => {
    const target = document.getElementById(a.hash.slice(1));
    if (target && target.localName === "details") target.open = true;
  });

  // Where in the page one is.
  const links = new Map([...document.querySelectorAll(".contents a")].map((a) => [a.hash.slice(1), a]));
  const seen = new Map();
  const watch = new IntersectionObserver((entries) => {
    for (const e of entries) seen.set(e.target.id, e.isIntersecting);
    const now = [...links.keys()].filter((id) => seen.get(id)).pop();
    for (const [id, a] of links) if (id === now) a.setAttribute("aria-current", "true"); else a.removeAttribute("aria-current");
  }, { rootMargin: "0px 0px -70% 0px" });
  for (const id of links.keys()) { const e = document.getElementById(id); if (e) watch.observe(e); }

  // Token by token: one stop of the tab key a completion, arrows inside it.
  const lists = [...document.querySelectorAll(".tokens")];
  const names = ["token", "text", "role", "entropy", "log p tuned", "log p base", "shift"];
  const show = (list, token) => {
    const at = [...list.children].indexOf(token);
    const row = document.getElementById(list.dataset.values).querySelectorAll("tbody tr")[at];
    const panel = list.parentElement.querySelector(".panel");
    panel.replaceChildren(...[...row.cells].map((cell, i) => {
      const pair = document.createElement("div");
      const name = document.createElement("dt");
      const value = document.createElement("dd");
      name.textContent = names[i];
      value.textContent = cell.textContent;
      pair.append(name, value);
      return pair;
    }));
    panel.hidden = false;
  };
  const choose = (list, token) => {
    if (!token) return;
    for (const other of list.querySelectorAll('[aria-selected="true"]')) { other.tabIndex = -1; other.setAttribute("aria-selected", "false"); }
    token.tabIndex = 0;
    token.setAttribute("aria-selected", "true");
    token.focus();
    show(list, token);
  };
  const current = (list) => list.querySelector('[aria-selected="true"]') || list.firstElementChild;
  const fork = (token, step) => {
    let t = token;
    do { t = t && t[step]; } while (t && !t.classList.contains("fork"));
    return t;
  };
  const channel = (list) => {
    const radios = [...list.closest(".view").querySelectorAll("input[type=radio]")];
    const next = radios.find((r) => !r.checked);
    next.checked = true;
    say("Fill shows " + next.value + ".");
  };
  const keys = {
    ArrowRight: (list, t) => choose(list, t.nextElementSibling),
    ArrowLeft: (list, t) => choose(list, t.previousElementSibling),
    Home: (list) => choose(list, list.firstElementChild),
    End: (list) => choose(list, list.lastElementChild),
    ArrowDown: (list) => jump(list, 1),
    ArrowUp: (list) => jump(list, -1),
    n: (list, t) => choose(list, fork(t, "nextElementSibling")),
    p: (list, t) => choose(list, fork(t, "previousElementSibling")),
    d: (list) => {
      const other = [...list.closest(".pair").querySelectorAll(".tokens")].find((l) => l !== list);
      if (other) choose(other, current(other));
    },
    "[": (list) => channel(list),
    "]": (list) => channel(list),
  };
  Object.assign(keys, { l: keys.ArrowRight, h: keys.ArrowLeft, j: keys.ArrowDown, k: keys.ArrowUp });
  const jump = (list, by) => {
    const next = lists[lists.indexOf(list) + by];
    if (next && next.firstElementChild) choose(next, current(next));
  };
  for (const list of lists) {
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-orientation", "horizontal");
    for (const token of list.children) { token.setAttribute("role", "option"); token.setAttribute("aria-selected", "false"); token.tabIndex = -1; }
    if (list.firstElementChild) list.firstElementChild.tabIndex = 0;
    list.addEventListener("click", (e) => choose(list, e.target.closest(".t")));
    list.addEventListener("focusin", (e) => {
      if (e.target.getAttribute("aria-selected") !== "true" && e.target.classList.contains("t")) choose(list, e.target);
    });
    list.addEventListener("keydown", (e) => {
      const act = keys[e.key];
      if (!act || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      act(list, e.target.closest(".t") || list.firstElementChild);
    });
  }
  for (const help of document.querySelectorAll(".keys")) help.hidden = false;
})();
