// The quiz remembers what was asked and ticked; the server keeps nothing of it.
// Gradio calls this text as a function of (element, trigger, props, server, upload, watch).
let history = []; // of the deck: [index, ticked labels, the tool's labels]
let deck = "text";
const boxes = () => [...element.querySelectorAll("input")];
const ask = (event, more = {}) => {
  const language = element.querySelector("[data-language]").dataset.language;
  trigger(event, { language, deck, history, ...more });
};

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-quiz]");
  const action = button?.dataset.quiz;
  if (action === "start") { history = []; deck = button.dataset.deck; }
  if (action === "start" || action === "next") ask("select");
  if (action === "summary") ask("select", { summary: true });
  if (action === "check") {
    const index = Number(element.querySelector("[data-index]").dataset.index);
    ask("submit", { index, chosen: boxes().filter((box) => box.checked).map((box) => box.value) });
  }
});

// A tick that a visitor set or took away outlives a change of the HTML: let it be as that says.
watch("value", () => {
  for (const box of boxes()) box.checked = box.defaultChecked;
  const asked = element.querySelector("[data-chosen]");
  if (asked) history.push([Number(asked.dataset.index), JSON.parse(asked.dataset.chosen), JSON.parse(asked.dataset.tool)]);
  if (element.querySelector(".cc-asked, .cc-mixed")) element.querySelector("h2").focus();
});
