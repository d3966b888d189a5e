// Which leaderboards are shown, and opening all panels.
const boardFilters = document.getElementById("board-filters");
if (boardFilters !== null) {
  const articles = [...document.querySelectorAll("article")];
  boardFilters.addEventListener("input", () => {
    const wanted = [...new FormData(boardFilters)].filter(([, value]) => value !== "");
    for (const article of articles) article.hidden = !wanted.every(([name, value]) => article.dataset[name] === value);
    const shown = articles.filter((article) => !article.hidden).length;
    boardFilters.querySelector("[role=status]").textContent = wanted.length ? `${shown} of ${articles.length} leaderboards` : "";
  });
  boardFilters.addEventListener("submit", (event) => event.preventDefault());
}
for (const button of document.querySelectorAll(".all-panels")) {
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Close all" : "Open all";
    for (const panel of button.closest("section").querySelectorAll("details.example")) panel.open = open;
  });
}
// An example's picture, large.
const enlarged = document.querySelector("dialog.enlarged");
const large = new Image();
enlarged.querySelector("figure").prepend(large);
const enlarge = (picture) => {
  large.src = picture.src;
  large.alt = enlarged.querySelector("figcaption").textContent = picture.alt;
  enlarged.showModal();
};
for (const picture of document.querySelectorAll(".sides figure img")) {
  picture.tabIndex = 0;
  picture.setAttribute("role", "button");
  picture.addEventListener("click", () => enlarge(picture));
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enlarge(picture); }
  });
}
enlarged.addEventListener("click", (event) => { if (event.target === enlarged) enlarged.close(); });
