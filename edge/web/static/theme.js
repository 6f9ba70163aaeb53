// Dark or light, before anything is drawn: as the system has it, until the switch says otherwise.
// A plain script and no module, since those run only when the page stands.
"use strict";

(() => {
  const light = matchMedia("(prefers-color-scheme: light)");

  function chosen() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // a browser that keeps nothing
    }
  }

  function apply() {
    const theme = chosen() ?? (light.matches ? "light" : "dark");
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    document.dispatchEvent(new Event("themechange"));
  }

  // To choose what the system has is to follow it again.
  document.addEventListener("themeswitch", () => {
    const theme = document.documentElement.dataset.theme === "light" ? "dark" : "light";
    try {
      if (theme === (light.matches ? "light" : "dark")) localStorage.removeItem("theme");
      else localStorage.setItem("theme", theme);
    } catch {
      return;
    }
    apply();
  });

  light.addEventListener("change", apply);
  apply();
})();
