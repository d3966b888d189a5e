"use strict";
for (const table of document.querySelectorAll("table.board")) {
  const body = table.tBodies[0];
  const heads = [...table.querySelectorAll("th[data-column]")];
  const initial = [...body.rows];
  const valueOf = (row, column) => {
    const cell = [...row.cells].find((c) => c.dataset.of === column);
    return cell === undefined ? "" : cell.dataset.value;
  };
  const compare = (a, b, numeric) => {
    if (a === "" || b === "") return a === b ? 0 : null;
    return numeric ? Number(a) - Number(b) : a.localeCompare(b);
  };
  const sort = (head) => {
    const column = head.dataset.column, numeric = head.classList.contains("number");
    const first = head.dataset.first || (numeric ? "descending" : "ascending");
    const second = first === "ascending" ? "descending" : "ascending";
    const now = head.getAttribute("aria-sort");
    const next = now === first ? second : now === second ? null : first;
    for (const other of heads) other.removeAttribute("aria-sort");
    let rows = [...initial];
    if (next !== null) {
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      rows.sort((x, y) => {
        const a = valueOf(x, column), b = valueOf(y, column), order = compare(a, b, numeric);
        return order === null ? (a === "" ? 1 : -1) : sign * order;
      });
    }
    body.append(...rows);
  };
  for (const head of heads) head.querySelector("button").addEventListener("click", () => sort(head));
  const section = table.closest("section");
  const box = section.querySelector("input[type=search]"), count = section.querySelector("[role=status]");
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of initial) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} of ${initial.length} rows shown` : "";
  });
}
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
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      const target = buttons[(i + step + buttons.length) % buttons.length];
      select(target);
      target.focus();
    });
  });
}
