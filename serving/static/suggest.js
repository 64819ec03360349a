// The search box suggests titles while one types; without this script it is a form that finds them.
const box = document.querySelector("header input[name=q]");
const titles = document.createElement("datalist");
titles.id = "titles";
box.setAttribute("list", titles.id);
box.setAttribute("autocomplete", "off");
box.after(titles);
const release = new URLSearchParams(location.search).get("release");
const here = release ? `&release=${encodeURIComponent(release)}` : "";
let waiting, asked;
const addressOf = (id) => `/items/${encodeURIComponent(id).replaceAll(".", "%2E")}${here.replace("&", "?")}`;
const suggest = async () => {
  asked?.abort();
  asked = new AbortController();
  try {
    const answer = await fetch(`/search.json?n=8&q=${encodeURIComponent(box.value)}${here}`, { signal: asked.signal });
    if (!answer.ok) return;
    const { rows } = await answer.json();
    titles.replaceChildren(...rows.map((row) => {
      const option = new Option(row.title, row.title ?? row.item_id);
      option.dataset.address = addressOf(row.item_id);
      return option;
    }));
  } catch {
    // The page is being left, or a later question has taken this one's place: the form finds the title all the same.
  }
};
box.addEventListener("input", (event) => {
  clearTimeout(waiting);
  const chosen = [...titles.children].find((option) => option.value === box.value);
  if (chosen && event.inputType !== "insertText") location.assign(chosen.dataset.address);
  else if (box.value.trim().length > 1) waiting = setTimeout(suggest, 150);
});
