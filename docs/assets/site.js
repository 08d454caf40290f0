// What the theme leaves out for keyboards and screen readers.
function mend() {
  // Each copy button is in a <nav> without a name, one more part of the page.
  for (const nav of document.querySelectorAll("nav.md-code__nav")) {
    const made = document.createElement("div");
    made.className = nav.className;
    made.append(...nav.childNodes);
    nav.replaceWith(made);
  }
  // A table that scrolls must be within reach of the keyboard.
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
    else table.removeAttribute("tabindex");
  }
}
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", mend);
mend();
