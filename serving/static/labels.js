// Datasette's forms have fields that nothing names; those who hear a page, and not see it, are told here what they are.
const NAMES = { _filter_column: "Column", _filter_op: "Comparison", _filter_value: "Value", _sort: "Sorted by", sql: "SQL" };
const label = () => {
  for (const field of document.querySelectorAll("input:not([type=hidden]):not([type=submit]), select, textarea")) {
    if (!field.labels?.length && !field.hasAttribute("aria-label")) {
      const name = Object.keys(NAMES).find((start) => field.name.startsWith(start));
      field.setAttribute("aria-label", NAMES[name] ?? (field.name || "SQL"));
    }
  }
};
label();
new MutationObserver(label).observe(document.body, { childList: true, subtree: true });
