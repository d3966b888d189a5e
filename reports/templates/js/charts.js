// Legends: a chosen entry stands out, the others fade; several can be chosen. Pointing or focusing shows one for a while.
for (const figure of document.querySelectorAll(".figure")) {
  const buttons = [...figure.querySelectorAll("button[data-series]")];
  const marks = [...figure.querySelectorAll("[data-series]:not(button)")];
  const show = (pointed) => {
    const chosen = new Set(buttons.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.series));
    if (pointed !== undefined) chosen.add(pointed);
    for (const mark of marks) mark.classList.toggle("faded", chosen.size > 0 && !chosen.has(mark.dataset.series));
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      show();
    });
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => show(button.dataset.series));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => show());
  }
}
