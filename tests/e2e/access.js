// What a screen reader or a keyboard would stumble over in what is seen (WCAG 2.2: 1.1.1, 2.4.2, 2.4.3, 3.1.1, 4.1.2).
() => {
  const found = [];
  if (!/^[a-z]{2}/.test(document.documentElement.lang)) found.push("the page names no language");
  if (!document.title.trim() || document.title === "Gradio") found.push("the page has no title of its own");
  const zoom = document.querySelector("meta[name=viewport]")?.content ?? "";
  if (/user-scalable=no|maximum-scale=1(\D|$)/.test(zoom)) found.push("the page cannot be zoomed");
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(element).visibility !== "hidden";
  };
  const words = (element) => (element?.innerText ?? element?.textContent ?? "").trim();
  const named = (id) => words(document.getElementById(id));
  const name = (element) => (element.getAttribute("aria-labelledby") ?? "").split(/\s+/).map(named).join(" ").trim()
    || element.getAttribute("aria-label")?.trim()
    || [...(element.labels ?? [])].map(words).join(" ").trim()
    || (element.matches("button, a, [role]") ? words(element) : "")
    || [...element.querySelectorAll("img[alt], svg title, [aria-label]")]
      .map((one) => one.getAttribute("aria-label") ?? one.alt ?? words(one)).join(" ").trim()
    || element.title;
  const place = (element) => `${element.outerHTML.slice(0, 90)} in #${element.closest("[id]")?.id}`;
  const controls = "button, a[href], textarea, select, input:not([type=hidden]), [role=slider], [role=tab], [tabindex='0']";
  for (const element of document.querySelectorAll(controls)) {
    // Groups that scroll take the focus, too, and are no controls.
    const control = element.matches("button, a, textarea, select, input, [role=slider], [role=tab], [role=button]");
    if (control && seen(element) && !name(element)) found.push(`no name: ${place(element)}`);
  }
  for (const element of document.querySelectorAll("img")) {
    if (seen(element) && !element.hasAttribute("alt")) found.push(`no alternative text: ${place(element)}`);
  }
  for (const element of document.querySelectorAll("[tabindex]")) {
    if (element.tabIndex > 0) found.push(`out of the order of tabs: ${place(element)}`);
  }
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter(seen).map((one) => Number(one.tagName[1]));
  if (levels[0] !== 1 || levels.filter((level) => level === 1).length !== 1) found.push(`headings ${levels}`);
  return found;
}
