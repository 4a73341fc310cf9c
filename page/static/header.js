// Gradio calls this text as a function of (element, trigger, …).
element.addEventListener("click", (event) => {
  const language = event.target.closest("[data-language]")?.dataset.language;
  if (language) trigger("select", { language });
});
