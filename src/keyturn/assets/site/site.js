// What only the atlas has, after shared.js: search, walking over a map by key, filters. Pages are whole without it.
(() => {
  const { say } = globalThis.keyturn;
  const root = document.body.dataset.root;

  // Search. The index and its program are fetched when somebody begins to type, as scripts, so that disks serve too.
  const box = document.querySelector(".find");
  const input = document.getElementById("find");
  const list = document.getElementById("found");
  box.hidden = false;
  let index = null;
  let shownFor = "";
  const load = (name) => new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = root + name;
    script.onload = done;
    script.onerror = failed;
    document.head.append(script);
  });
  const ready = () => {
    index ??= load("minisearch.js").then(() => load("search.js")).then(() => {
      const { documents } = globalThis.keyturnSearch;
      const mini = new globalThis.MiniSearch({
        fields: ["title", "text"], idField: "url", storeFields: ["title", "kind"],
        searchOptions: { boost: { title: 3 }, prefix: (term) => term.length > 2, fuzzy: (term) => term.length > 6 ? 2 : term.length > 4 ? 1 : false },
      });
      mini.addAll(documents);
      return mini;
    });
    return index;
  };
  const options = () => [...list.querySelectorAll('[role="option"]')];
  const at = () => options().findIndex((o) => o.getAttribute("aria-selected") === "true");
  const close = () => { shownFor = ""; list.hidden = true; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
  const select = (i) => {
    const all = options();
    if (!all.length) return;
    const n = (i + all.length) % all.length;
    all.forEach((o, k) => o.setAttribute("aria-selected", String(k === n)));
    input.setAttribute("aria-activedescendant", all[n].id);
    all[n].scrollIntoView({ block: "nearest" });
  };
  const go = (option) => { if (option) location.href = root + option.dataset.url; };
  const show = (hits) => {
    list.replaceChildren(...hits.slice(0, 12).map((hit, i) => {
      const item = document.createElement("li");
      const kind = document.createElement("span");
      const title = document.createElement("span");
      item.id = "hit-" + i;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      item.dataset.url = hit.id;
      kind.className = "kind";
      kind.textContent = hit.kind;
      title.textContent = hit.title;
      item.append(kind, title);
      item.addEventListener("pointerdown", (e) => { e.preventDefault(); go(item); });
      return item;
    }));
    if (!hits.length) {
      const none = document.createElement("li");
      none.className = "none";
      none.textContent = "Nothing found.";
      list.append(none);
    }
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (hits.length) select(0);
    say(hits.length ? `${Math.min(hits.length, 12)} found.` : "Nothing found.");
  };
  const refresh = async () => {
    const words = input.value.trim();
    if (!words) { close(); return; }
    const mini = await ready();
    if (words === input.value.trim() && words !== shownFor) {
      shownFor = words;
      show(mini.search(words));
    }
  };
  input.addEventListener("input", refresh);
  input.addEventListener("keydown", async (e) => {
    if (e.key === "Escape") { if (list.hidden) input.value = ""; close(); }
    else if (e.key === "Enter") {
      e.preventDefault();
      await refresh(); // a quick hand is ahead of the list
      if (!list.hidden) go(options()[at()]);
    } else if (list.hidden) return;
    else if (e.key === "ArrowDown") { e.preventDefault(); select(at() + 1); }
    else if (e.key === "ArrowUp") { e.preventDefault(); select(at() - 1); }
  });
  input.addEventListener("blur", close);
  addEventListener("keydown", (e) => {
    const typing = /^(input|select|textarea)$/i.test(e.target.localName || "");
    if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) { e.preventDefault(); input.focus(); input.select(); }
  });

  // Maps: what is near the box under the pointer or the focus stands out; arrow keys walk to the nearest box.
  const reduced = matchMedia("(prefers-reduced-motion: reduce)");
  for (const map of document.querySelectorAll("svg.map")) {
    const nodes = [...map.querySelectorAll("a.node")];
    const lines = [...map.querySelectorAll(".rel")];
    const by = new Map(nodes.map((n) => [n.dataset.id, n]));
    const told = map.parentElement.querySelector(".why-line");
    const near = (node) => {
      const own = node ? lines.filter((l) => l.dataset.a === node.dataset.id || l.dataset.b === node.dataset.id) : [];
      map.classList.toggle("walking", Boolean(node));
      for (const l of lines) l.classList.toggle("near", own.includes(l));
      const kept = new Set([node, ...own.flatMap((l) => [by.get(l.dataset.a), by.get(l.dataset.b)])]);
      for (const n of nodes) n.classList.toggle("near", kept.has(n));
      if (told) told.textContent = node ? node.querySelector("title").textContent : "";
    };
    for (const n of nodes) {
      n.addEventListener("pointerenter", () => near(n));
      n.addEventListener("pointerleave", () => near(null));
      n.addEventListener("focus", () => near(n));
      n.addEventListener("blur", () => near(null));
      n.addEventListener("keydown", (e) => {
        const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[e.key];
        if (!way || e.ctrlKey || e.metaKey || e.altKey) return;
        e.preventDefault();
        const middle = (o) => { const r = o.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; };
        const [x, y] = middle(n);
        let best = null, least = Infinity;
        for (const o of nodes) {
          const [u, v] = middle(o);
          const ahead = (u - x) * way[0] + (v - y) * way[1];
          const aside = Math.abs((u - x) * way[1] + (v - y) * way[0]);
          if (o !== n && ahead > 4 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = o; }
        }
        if (best) { best.focus({ preventScroll: true }); best.scrollIntoView({ block: "nearest", behavior: reduced.matches ? "auto" : "smooth" }); }
      });
    }
  }

  // Filters of a list: each control names an attribute of its rows.
  for (const form of document.querySelectorAll(".filters")) {
    const rows = [...document.querySelectorAll("#" + form.dataset.list + " [data-row]")];
    const controls = [...form.querySelectorAll("[data-by]")];
    const count = document.getElementById(form.dataset.told);
    // What is folded opens while something is asked for, and folds again after.
    const groups = [...document.querySelectorAll("#" + form.dataset.list + " [data-group]")];
    for (const group of groups) group.dataset.open = group.open;
    let narrowed = false;
    for (const button of form.querySelectorAll("[data-unfold]")) button.addEventListener("click", () => {
      for (const group of groups) group.open = true;
    });
    const apply = () => {
      let shown = 0;
      for (const row of rows) {
        const fits = controls.every((c) => !c.value || (c.dataset.by === "words"
          ? row.textContent.toLowerCase().includes(c.value.toLowerCase())
          : (row.dataset[c.dataset.by] || "").split("|").includes(c.value)));
        row.hidden = !fits;
        shown += fits;
      }
      const asked = controls.some((c) => c.value);
      for (const group of groups) {
        group.hidden = ![...group.querySelectorAll("[data-row]")].some((r) => !r.hidden);
        if (asked !== narrowed) group.open = asked || group.dataset.open === "true";
      }
      narrowed = asked;
      count.textContent = `${shown} of ${rows.length} shown`;
    };
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const c of controls) {
      if (asked.has(c.dataset.by)) c.value = asked.get(c.dataset.by);
      c.addEventListener("input", apply);
    }
    form.hidden = false;
    apply();
  }

  // Where would a reading flip? The bound moves; the record does not.
  for (const slide of document.querySelectorAll(".slide")) {
    const input = slide.querySelector("input");
    const out = slide.querySelector("output");
    const { low, high, counts } = slide.dataset;
    const tell = () => {
      const bound = Number(input.value);
      const good = counts === ">=" ? Number(low) >= bound : Number(high) <= bound;
      const bad = counts === ">=" ? Number(high) < bound : Number(low) > bound;
      out.textContent = `At a bound of ${input.value.replace("-", "\u2212").replace(/\b0\./, ".")} it ${good ? "holds" : bad ? "fails" : "is open"}.`;
    };
    input.addEventListener("input", tell);
    slide.hidden = false;
    tell();
  }
})();
