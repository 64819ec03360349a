// An id is one segment of a path; its dots are written %2E, so that an id ending in .json stays an id.
document.getElementById("of-user").addEventListener("submit", (event) => {
  event.preventDefault();
  location.href = "/recommend/" + encodeURIComponent(event.target.elements.user.value).replace(/\./g, "%2E");
});
