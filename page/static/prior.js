// Bayes' rule in the browser: what is known before the photo moves the chances, and the photo's own part stays.
// Gradio calls this text as a function of (element, trigger, props, server, upload, watch).

// As model/finding.py shows a probability: no bolder than the patients behind it support.
function shareOf(panel, chance, most, few) {
  const anyFew = panel.few.some(Boolean);
  const top = anyFew ? 0.95 : 0.99;
  const bottom = few || (anyFew && most > top) ? 0.05 : 0.01;
  const percent = (value) => `${Math.round(100 * value)}\u00a0%`;
  if (chance > top) return panel.above.replace("{share}", percent(top));
  return chance < bottom ? panel.below.replace("{share}", percent(bottom)) : percent(chance);
}

const scaled = (values) => {
  const total = values.reduce((sum, value) => sum + value, 0);
  return values.map((value) => value / total);
};

// The setting gives the chances before; each thing known multiplies them.
function priorOf(panel, names) {
  const known = names.map((name) => panel.known[name]);
  const setting = known.find((one) => one.group === "setting");
  const ratios = known.filter((one) => one.group !== "setting");
  return scaled(ratios.reduce((chances, one) => chances.map((c, i) => c * one.factors[i]), setting?.factors ?? panel.before));
}

const figure = (value) => (value < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3))));

function tell(root) {
  const panel = JSON.parse(root.dataset.panel);
  const picked = [...root.querySelectorAll("[data-known]")].filter((input) => input.type !== "checkbox" || input.checked);
  const names = picked.map((input) => input.value).filter(Boolean);
  const before = priorOf(panel, names);
  const photo = panel.after.map((after, i) => after / panel.before[i]);
  const products = before.map((chance, i) => chance * photo[i]);
  const after = names.length ? scaled(products) : panel.after;
  const total = products.reduce((sum, value) => sum + value, 0);
  const most = Math.max(...after);
  const texts = after.map((chance, i) => shareOf(panel, chance, most, panel.few[i]));
  root.querySelectorAll(".cc-chances tbody tr").forEach((row, i) => {
    row.querySelector("[data-prior=before]").textContent = before[i] < 0.01 ? panel.below.replace("{share}", "1\u00a0%") : `${Math.round(100 * before[i])}\u00a0%`;
    row.querySelector("[data-prior=after]").textContent = texts[i];
    const bar = row.querySelector(".cc-bar");
    bar.style.setProperty("--before", before[i]);
    bar.style.setProperty("--after", after[i]);
  });
  const now = root.querySelector("[data-prior=now]");
  if (!now) return;
  const leader = after.indexOf(most);
  now.textContent = names.length ? panel.now.replace("{label}", panel.labels[leader]).replace("{share}", texts[leader]) : "";
  root.querySelectorAll("[data-prior=sums] li").forEach((line, i) => {
    line.textContent = `${panel.labels[i]}: ${figure(before[i])} × ${figure(photo[i])} = ${figure(products[i])}; ÷ ${figure(total)} → ${texts[i]}`;
  });
}

element.addEventListener("input", (event) => {
  const root = event.target.closest(".cc-prior");
  if (root) tell(root);
});
// A worked case may fill its panel in.
element.addEventListener("click", (event) => {
  const names = event.target.closest("[data-fill]")?.dataset.fill.split(",");
  if (!names) return;
  const root = event.target.closest(".cc-case").querySelector(".cc-prior");
  for (let node = root; node; node = node.parentElement) if (node.matches("details")) node.open = true;
  root.querySelectorAll("[data-known]").forEach((input) => {
    if (input.type === "checkbox") input.checked = names.includes(input.value);
    else input.value = [...input.options].map((option) => option.value).find((value) => names.includes(value)) ?? "";
  });
  tell(root);
  root.scrollIntoView({ block: "nearest" });
});
const begin = () => element.querySelectorAll(".cc-prior").forEach(tell);
watch("value", begin);
begin();
