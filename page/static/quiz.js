// Gradio calls this text as a function of (element, trigger, …).
const ticks = () => [...element.querySelectorAll("input")];
element.addEventListener("click", (event) => {
  const action = event.target.closest("[data-quiz]")?.dataset.quiz;
  const language = element.querySelector("[data-language]").dataset.language;
  if (action === "next") {
    for (const tick of ticks()) tick.checked = false; // the next photo starts without ticks
    trigger("select", { language });
  }
  if (action === "check") {
    const index = Number(element.querySelector("[data-index]").dataset.index);
    const chosen = ticks().filter((tick) => tick.checked).map((tick) => tick.value);
    trigger("submit", { language, index, chosen });
  }
});
