// Texts that are seen with a contrast below 4.5 to what is behind them (WCAG 2.2, 1.4.3).
() => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext(
    "2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under, alpha) => under.map((value, i) => top[i] * alpha + value * (1 - alpha));
  const ancestors = (node) => (node ? [node, ...ancestors(node.parentElement)] : []);
  const behind = (element) => ancestors(element).reverse().reduce((colour, node) => {
    const own = rgba(getComputedStyle(node).backgroundColor);
    return over(own, colour, own[3]);
  }, [255, 255, 255]);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => value / 255).map(
      (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const hidden = !element.offsetParent || style.visibility === "hidden" || !box.width;
    if (!text || hidden || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const opacity = ancestors(element).reduce((all, node) => all * getComputedStyle(node).opacity, 1);
    if (opacity < 0.05) continue;
    const ground = behind(element);
    const ink = rgba(style.color);
    const levels = [over(ink, ground, ink[3] * opacity), ground].map(luminance);
    const contrast = (Math.max(...levels) + 0.05) / (Math.min(...levels) + 0.05);
    if (contrast < 4.5) found.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return found;
}
