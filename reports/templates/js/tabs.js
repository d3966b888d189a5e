// Tabs: click, or arrow keys, Home and End.
for (const tabs of document.querySelectorAll("[role=tablist]")) {
  const buttons = [...tabs.querySelectorAll("[role=tab]")];
  const select = (chosen) => {
    for (const button of buttons) {
      const active = button === chosen;
      button.setAttribute("aria-selected", String(active));
      button.tabIndex = active ? 0 : -1;
      document.getElementById(button.getAttribute("aria-controls")).hidden = !active;
    }
  };
  buttons.forEach((button, i) => {
    button.addEventListener("click", () => select(button));
    button.addEventListener("keydown", (event) => {
      const last = buttons.length - 1;
      const next = { ArrowRight: i === last ? 0 : i + 1, ArrowLeft: i ? i - 1 : last, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      select(buttons[next]);
      buttons[next].focus();
    });
  });
}
