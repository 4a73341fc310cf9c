// Gradio calls this text as a function of (element, trigger, props, server, upload, watch).
const ticks = () => [...element.querySelectorAll("input")];
element.addEventListener("click", (event) => {
  const action = event.target.closest("[data-quiz]")?.dataset.quiz;
  const language = element.querySelector("[data-language]").dataset.language;
  if (action === "next") trigger("select", { language });
  if (action === "check") {
    const index = Number(element.querySelector("[data-index]").dataset.index);
    const chosen = ticks().filter((tick) => tick.checked).map((tick) => tick.value);
    trigger("submit", { language, index, chosen });
  }
});

// A tick that a visitor set or took away outlives a change of the HTML: let it be as that says.
watch("value", () => {
  for (const tick of ticks()) tick.checked = tick.defaultChecked;
});
