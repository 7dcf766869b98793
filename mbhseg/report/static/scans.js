/* The table of volumes: sorted by its headings, filtered, and marked where the viewer is. */
"use strict";

(() => {
  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  const order = [...body.rows]; // as the file has them
  let sort = { column: 0, down: false };

  const SHOWN = {
    found: (row) => "found" in row.dataset || row.dataset.class === "any",
    any: (row) => row.dataset.class === "any",
    low: (row) => "low" in row.dataset,
    all: () => true,
  };

  /** Text of the first column, numbers of the others; null where there is no value. */
  function value(row, column) {
    const { value: text } = row.cells[column].dataset;
    if (column === 0) return text;
    return text === "" ? null : Number(text);
  }

  function draw() {
    const { column, down } = sort, sign = down ? -1 : 1;
    const rows = [...order].sort((a, b) => {
      const x = value(a, column), y = value(b, column);
      if (x === y) return 0; // the sort is stable
      if (x === null) return 1; // no value: last, either way
      if (y === null) return -1;
      return (x < y ? -1 : 1) * sign;
    });
    const wanted = SHOWN[document.getElementById("rows").value];
    for (const row of rows) row.hidden = !wanted(row);
    body.append(...rows);
    headings.forEach((cell, n) => {
      if (n === column) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    const count = rows.filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = `${count} of ${rows.length} rows.`;
  }

  headings.forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    button.addEventListener("click", () => {
      sort = { column, down: sort.column === column ? !sort.down : column > 1 };
      draw();
    });
    cell.append(button);
  });
  document.getElementById("choice").hidden = false;
  document.getElementById("rows").addEventListener("change", draw);
  body.addEventListener("click", (event) => {
    const stage = document.getElementById("stage");
    if (!stage || !event.target.closest("a")) return;
    stage.focus({ preventScroll: true }); // so that the arrow keys move through its slices
    stage.scrollIntoView({ block: "center" });
  });
  document.addEventListener("case", ({ detail }) => {
    for (const row of order) {
      if (row.dataset.case === detail) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  });
  draw();
})();
