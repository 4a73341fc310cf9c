// Gradio calls this text as a function of (element, trigger, …).
element.addEventListener("click", (event) => {
  const language = event.target.closest("[data-language]")?.dataset.language;
  if (language) trigger("select", { language });
});

// What a link within the page leads to may be folded.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#cc-"]');
  const target = link && document.getElementById(link.hash.slice(1));
  if (!target) return;
  event.preventDefault();
  for (let node = target; node; node = node.parentElement) if (node.matches("details")) node.open = true;
  target.tabIndex = -1;
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "center" });
});
