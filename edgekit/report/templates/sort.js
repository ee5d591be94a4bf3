"use strict";

// What is unknown stays last either way; Array.prototype.sort is stable, so rows that are equal keep their order.
function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" && typeof b === "number"
    ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true });
  return direction * order;
}

function sortBy(header) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const value = (row) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return null;
    return header.classList.contains("number") ? Number(cell.dataset.value) : cell.dataset.value;
  };
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => ({ row, key: value(row) }));
  keyed.sort((a, b) => compare(a.key, b.key, direction));
  body.append(...keyed.map(({ row }) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
