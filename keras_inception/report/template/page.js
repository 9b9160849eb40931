"use strict";
// A click on the head of a column sorts its table; numbers begin with the largest.
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const number = head.classList.contains("n");
    const before = head.getAttribute("aria-sort");
    const up = before ? before === "descending" : !number;
    const key = (row) => row.cells[column].dataset.sort;
    const order = number
      ? (a, b) => key(a) - key(b)
      : (a, b) => key(a).localeCompare(key(b), undefined, {numeric: true});
    const rows = [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  }));
}
for (const input of document.querySelectorAll("input[type=search]")) {
  const found = input.parentElement.nextElementSibling;
  const rows = [...found.nextElementSibling.querySelectorAll("tbody tr")];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(words);
      shown += !row.hidden;
    }
    found.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  });
}
