// Runs before anything is painted, so that a chosen theme does not flash; shared.js does the rest.
"use strict";
try {
  const kept = localStorage.getItem("keyturn-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* a file may keep nothing */ }
