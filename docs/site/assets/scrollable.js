// Blocks of code and tables that are wider than their column can be scrolled with the keyboard too.
const WIDE = ".md-typeset pre > code, .md-typeset .md-typeset__scrollwrap, .md-typeset .highlight pre";

function reachable() {
  for (const block of document.querySelectorAll(WIDE)) {
    if (block.scrollWidth > block.clientWidth) {
      block.setAttribute("tabindex", "0");
    } else {
      block.removeAttribute("tabindex");
    }
  }
}

addEventListener("DOMContentLoaded", reachable);
addEventListener("load", reachable); // fonts and pictures have their sizes
addEventListener("resize", reachable);
