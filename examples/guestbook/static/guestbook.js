// Shows new entries as they come, and sends the form without leaving the page. Without it the page works too.
"use strict";

const list = document.getElementById("entries");
const form = document.getElementById("form");
const state = document.getElementById("state");
const complaint = form.querySelector(".complaint");
const button = form.querySelector("button");

function readable(time) {
  const date = new Date(time.dateTime);
  if (!Number.isNaN(date.valueOf())) {
    time.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}
list.querySelectorAll("time").forEach(readable);

// An entry may come twice, as the answer to the form and as an event: the first one counts.
function show(entry, own) {
  const known = document.getElementById("entry-" + entry.id);
  const item = known ?? document.getElementById("entry").content.cloneNode(true).firstElementChild;
  if (own) item.classList.add("own");
  if (known) return;
  item.id = "entry-" + entry.id;
  item.classList.add("new");
  item.querySelector("p").textContent = entry.message;
  item.querySelector("b").textContent = entry.author;
  const time = item.querySelector("time");
  time.dateTime = entry.createdAt;
  readable(time);
  // Newest first, whatever the order of arrival.
  const older = [...list.children].find((other) => Number(other.id.slice("entry-".length)) < entry.id);
  list.insertBefore(item, older ?? null);
}

// The browser comes back by itself with the id of the last event, so that nothing is missed.
const events = new EventSource("/events?after=" + list.dataset.newest);
events.addEventListener("entry", (event) => show(JSON.parse(event.data), false));
events.addEventListener("open", () => { state.textContent = "live"; state.classList.add("live"); });
events.addEventListener("error", () => { state.textContent = "reconnecting"; state.classList.remove("live"); });

form.elements.author.value ||= localStorage.getItem("author") ?? "";

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  complaint.textContent = "";
  const body = JSON.stringify({ author: form.elements.author.value, message: form.elements.message.value });
  const headers = { "content-type": "application/json", "idempotency-key": form.elements.key.value };
  try {
    const answer = await fetch("/api/entries", { method: "POST", headers, body });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.detail);
    localStorage.setItem("author", content.author);
    show(content, true);
    form.elements.message.value = "";
    form.elements.key.value = newKey();
    form.elements.message.focus();
  } catch (error) {
    // The key stays, so that trying again writes nothing twice.
    complaint.textContent = error.message;
  } finally {
    button.disabled = false;
  }
});

// Only an entry that is another one gets another key.
form.elements.message.addEventListener("change", () => { if (complaint.textContent) form.elements.key.value = newKey(); });

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
