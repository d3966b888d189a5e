// The leaderboard and its costs: sorted by any column, filtered by words, supervision and backbone; the scores
// narrowed to one stage, and counted.
for (const table of document.querySelectorAll("table.board")) {
  const body = table.tBodies[0], scores = table.classList.contains("scores");
  const heads = [...table.querySelectorAll("th[data-column]")];
  const initial = [...body.rows];
  const cellOf = (row, column) => [...row.cells].find((c) => c.dataset.of === column);
  const valueOf = (row, column) => cellOf(row, column)?.dataset.value ?? "";
  const compare = (a, b, numeric) => (numeric ? Number(a) - Number(b) : a.localeCompare(b));

  // Places are those of the sorted column; of columns without places, the main one's.
  const place = (column) => {
    if (!scores) return;
    const placed = initial.some((row) => (cellOf(row, column)?.dataset.rank ?? "") !== "");
    const by = placed ? column : table.dataset.main;
    for (const row of initial) row.cells[0].textContent = cellOf(row, by)?.dataset.rank ?? "";
  };

  // direction: "ascending", "descending" or null for the order the page came with
  const sort = (head, direction) => {
    for (const other of heads) other.removeAttribute("aria-sort");
    const rows = [...initial];
    if (direction !== null) {
      const column = head.dataset.column, numeric = head.classList.contains("number");
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      rows.sort((x, y) => {
        const a = valueOf(x, column), b = valueOf(y, column);
        if (a === "" || b === "") return (a === "") - (b === "");  // what has no value comes last
        return sign * compare(a, b, numeric);
      });
    }
    place(direction === null ? table.dataset.main : head.dataset.column);
    body.append(...rows);
  };
  const firstOf = (head) => head.dataset.first || (head.classList.contains("number") ? "descending" : "ascending");
  const second = { ascending: "descending", descending: "ascending" };
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const first = firstOf(head), now = head.getAttribute("aria-sort");
      sort(head, now === first ? second[first] : now === null ? first : null);
    });
  }

  const form = table.closest("section").querySelector("form.filters");
  const status = form.querySelector("[role=status]");
  const staged = [...table.querySelectorAll("[data-stage]")];
  const reasons = [...table.querySelectorAll("td.reason")];
  let stageShown = "";
  const filter = () => {
    const wanted = new FormData(form);
    const words = wanted.get("words").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of initial) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word))
        || ["supervision", "backbone"].some((name) => wanted.get(name) && row.dataset[name] !== wanted.get(name));
      shown += row.hidden ? 0 : 1;
    }
    if (!scores) return;
    status.textContent = shown < initial.length ? `${shown} of ${initial.length} rows` : "";
    const stage = wanted.get("stage") ?? "";
    if (stage === stageShown) return;
    stageShown = stage;
    for (const cell of staged) cell.hidden = stage !== "" && cell.dataset.stage !== stage;
    const columns = heads.filter((head) => head.dataset.stage && !head.hidden);
    for (const cell of reasons) cell.colSpan = columns.length;
    if (stage === "") sort(null, null);
    else sort(columns[0], firstOf(columns[0]));
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();  // a browser may have kept what was chosen before a reload
  // On a narrow screen the column that ranks is the one that stands beside the names.
  const main = heads.find((head) => head.dataset.column === table.dataset.main);
  if (main && matchMedia("(max-width: 760px)").matches) {
    const names = table.querySelector("thead th.method").getBoundingClientRect();
    table.closest(".scroll").scrollLeft += main.getBoundingClientRect().left - names.right;
  }
}
