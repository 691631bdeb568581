"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const say = (text) => { document.getElementById("said").textContent = text; };

  // Light and dark

  const theme = document.getElementById("theme");
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches);
  const showTheme = () => theme.setAttribute("aria-pressed", String(isDark()));
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("agiqa-bench-theme", root.dataset.theme);
    } catch {
      // Storage may be closed to a page: the choice then lasts as long as the page is open.
    }
    showTheme();
  });
  systemIsDark.addEventListener("change", showTheme);
  showTheme();

  const intervals = document.getElementById("intervals");
  intervals?.addEventListener("click", () => {
    const shown = root.classList.toggle("with-intervals");
    intervals.setAttribute("aria-pressed", String(shown));
  });

  // Contents: open beside the text, closed above it

  const contents = document.querySelector(".contents details");
  if (contents) {
    const beside = matchMedia("(min-width: 70rem)");
    const place = () => { contents.open = beside.matches; };
    beside.addEventListener("change", place);
    place();
    contents.addEventListener("click", (event) => {
      if (event.target.closest("a") && !beside.matches) contents.open = false;
    });
    const links = new Map(all("a", contents).map((link) => [link.hash.slice(1), link]));
    const seen = new Set();
    all("main .section[id], main .chapter[id]").forEach((part) => {
      new IntersectionObserver(([entry]) => {
        seen[entry.isIntersecting ? "add" : "delete"](part);
        const current = all("main .section[id], main .chapter[id]").filter((other) => seen.has(other)).pop();
        links.forEach((link) => link.removeAttribute("aria-current"));
        if (current) links.get(current.id)?.setAttribute("aria-current", "location");
      }, { rootMargin: "-20% 0px -75% 0px" }).observe(part);
    });
  }

  // Tables: sorting

  // Only with scripts are headings something to press.
  function sortable(heading) {
    const button = document.createElement("button");
    button.type = "button";
    [...heading.attributes].forEach(({ name, value }) => button.setAttribute(name, value));
    button.textContent = heading.textContent;
    heading.replaceWith(button);
  }

  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  function sorter(table) {
    const bodies = all("tbody", table);
    const original = bodies.map((body) => ({ body, rows: all("tr", body) }));
    const data = (rows) => rows.filter((row) => !row.classList.contains("group"));
    const keepGroups = "within" in table.dataset;

    const compare = (place, direction) => (one, other) => {
      const [a, b] = [one.cells[place], other.cells[place]];
      if (!a.classList.contains("number")) {
        return direction * order.compare(a.textContent.trim(), b.textContent.trim());
      }
      // What is not defined comes last, whichever way.
      if (a.dataset.value === "" || b.dataset.value === "") {
        return (a.dataset.value === "") - (b.dataset.value === "");
      }
      return direction * (Number(a.dataset.value) - Number(b.dataset.value));
    };

    function sort(place, state) {
      table.classList.toggle("dissolved", Boolean(state) && !keepGroups);
      original.forEach(({ body, rows }) => body.append(...rows));
      if (!state) return;
      const by = compare(place, state === "ascending" ? 1 : -1);
      if (keepGroups) {
        original.forEach(({ body, rows }) => body.append(...data(rows).sort(by)));
      } else {
        bodies[0].append(...original.flatMap(({ rows }) => data(rows)).sort(by));
      }
    }

    const buttons = all("button.sort", table);
    buttons.forEach((button, place) => button.addEventListener("click", () => {
      const head = button.closest("th");
      const first = button.dataset.first;
      const second = first === "ascending" ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort");
      const next = !now ? first : now === first ? second : "";
      all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      sort(place, next);
      say(next ? `Sorted by ${button.textContent.trim()}, ${next}` : "In the original order");
    }));
  }

  // Tables: filtering

  function filter(block, words) {
    const rows = all("tbody tr:not(.group)", block);
    rows.forEach((row) => {
      const text = `${row.dataset.key} ${all("th, td.text", row).map((cell) => cell.textContent).join(" ")}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
    all("tbody", block).forEach((body) => {
      const group = body.querySelector("tr.group");
      if (group) group.hidden = all("tr:not(.group)", body).every((row) => row.hidden);
    });
    count(block);
  }

  function count(block) {
    const rows = all("tbody tr:not(.group)", block);
    const shown = rows.filter((row) => !row.hidden && !row.closest("tbody").hidden).length;
    const counter = block.querySelector(".count");
    const text = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
    if (counter && counter.textContent !== text) counter.textContent = text;
    const empty = block.querySelector(".empty");
    if (empty) empty.hidden = shown > 0;
  }

  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  // A table that fits lets its head stick to the page; one that does not scrolls in a box of its own.

  function fitter(box) {
    const table = box.firstElementChild;
    const fit = () => {
      box.classList.remove("fits");
      const fits = table.scrollWidth <= box.clientWidth;
      box.classList.toggle("fits", fits);
      if (fits) box.removeAttribute("tabindex"); else box.tabIndex = 0;
    };
    new ResizeObserver(fit).observe(box.parentElement);
    intervals?.addEventListener("click", fit);
  }

  all("th > .sort").forEach(sortable);
  all("table").forEach(sorter);
  all(".scroll").forEach(fitter);
  all(".drawing").forEach((box) => {
    const fit = () => { if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; else box.removeAttribute("tabindex"); };
    new ResizeObserver(fit).observe(box);
  });
  all(".filter input").forEach((input) => {
    const block = document.getElementById(input.dataset.table);
    input.addEventListener("input", () => filter(block, words(input.value)));
    if (input.value) filter(block, words(input.value));
  });

  // Copying and saving

  function done(button, text) {
    const label = button.textContent;
    button.textContent = text;
    button.disabled = true;
    setTimeout(() => { button.textContent = label; button.disabled = false; button.focus(); }, 1200);
  }

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }

  async function copy(button, text, shown) {
    try {
      await navigator.clipboard.writeText(text);
      done(button, "Copied");
      say("Copied");
    } catch {
      // No clipboard for this page: the text is selected, and the keyboard copies it.
      const pre = shown ?? textBelow(button, text);
      pre.focus();
      select(pre);
      say("Selected: copy it with the keyboard");
    }
  }

  function textBelow(button, text) {
    const block = button.closest(".block");
    let pre = block.querySelector("pre.copied");
    if (!pre) {
      pre = document.createElement("pre");
      pre.className = "copied";
      pre.tabIndex = 0;
      block.querySelector(".bar").after(pre);
    }
    pre.textContent = text;
    return pre;
  }

  function save(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  function saveDrawing(button) {
    const block = button.closest(".block");
    const drawing = block.querySelector("svg").cloneNode(true);
    drawing.setAttribute("style", "color: #1b1f24; background: #ffffff");
    const svg = new XMLSerializer().serializeToString(drawing);
    const type = "image/svg+xml";
    if (button.dataset.save === "svg") {
      save(`${block.id}.svg`, new Blob([svg], { type }));
      return;
    }
    const shown = block.querySelector("svg").getBoundingClientRect();
    const image = new Image();
    image.addEventListener("load", () => {
      const canvas = document.createElement("canvas");
      const scale = 2400 / shown.width;
      canvas.width = Math.round(shown.width * scale);
      canvas.height = Math.round(shown.height * scale);
      const pen = canvas.getContext("2d");
      pen.fillStyle = "#ffffff";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(`${block.id}.png`, blob));
    });
    image.src = `data:${type};charset=utf-8,${encodeURIComponent(svg)}`;
  }

  all(".copy button").forEach((button) => button.addEventListener("click", () => {
    if (button.dataset.save) saveDrawing(button);
    else if (button.dataset.copy) {
      const shown = document.getElementById(button.dataset.copy);
      copy(button, shown.textContent, shown);
    } else copy(button, button.nextElementSibling.content.textContent);
  }));

  // Tool tips that a keyboard and a finger reach too

  const tip = document.getElementById("tip");
  let tipped = null;
  const hideTip = () => {
    tip.hidden = true;
    tipped?.removeAttribute("aria-describedby");
    tipped = null;
  };
  const showTip = (element) => {
    hideTip();
    tipped = element;
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    element.setAttribute("aria-describedby", "tip");
    placeTip();
  };
  const placeTip = () => {
    const at = tipped.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), root.clientWidth - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 0 ? above : at.bottom + 8}px`;
  };
  all("body [title]").forEach((element) => {
    if (element.closest("svg")) return;
    element.dataset.tip = element.title;
    element.removeAttribute("title");
    element.addEventListener("pointerenter", () => showTip(element));
    element.addEventListener("pointerleave", hideTip);
    element.addEventListener("focus", () => { if (element.matches(":focus-visible")) showTip(element); });
    element.addEventListener("blur", hideTip);
    if (element.tagName === "ABBR") element.addEventListener("click", () => showTip(element));
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  // The focus scrolls its element into view, and takes the tip along.
  addEventListener("scroll", () => {
    if (tipped && tipped === document.activeElement) placeTip(); else hideTip();
  }, { passive: true, capture: true });

  // Paper holds everything

  const closed = [];
  addEventListener("beforeprint", () => all("details:not([open])").forEach((details) => {
    details.open = true;
    closed.push(details);
  }));
  addEventListener("afterprint", () => closed.splice(0).forEach((details) => { details.open = false; }));

  // A leaderboard: which groups of rows are in view

  const views = document.getElementById("views");
  if (views) {
    const selects = all("select", views);
    const block = document.getElementById(views.dataset.table);
    const search = block.querySelector(".filter input");
    const bodies = all("tbody", block);
    const matches = (body, chosen) => selects.every(({ name }) => !chosen[name] || body.dataset[name] === chosen[name]);
    const chosen = () => Object.fromEntries(selects.map(({ name, value }) => [name, value]));

    function show() {
      const now = chosen();
      bodies.forEach((body) => { body.hidden = !matches(body, now); });
      document.getElementById("mixed").hidden = bodies.filter((body) => !body.hidden).length < 2;
      count(block);
      const state = new URLSearchParams(Object.entries(now));
      if (search?.value) state.set("words", search.value);
      history.replaceState(null, "", `#${state}`);
    }

    function choose(changed) {
      // A choice that no group answers gives way in the other boxes, never in the one that was just changed.
      const now = chosen();
      if (now[changed] && !bodies.some((body) => matches(body, now))) {
        const close = bodies.find((body) => body.dataset[changed] === now[changed]);
        selects.forEach((box) => { if (box.name !== changed && now[box.name]) box.value = close.dataset[box.name]; });
      }
      show();
    }

    function read() {
      const state = new URLSearchParams(location.hash.slice(1));
      const first = bodies.find((body) => "first" in body.dataset) ?? bodies[0];
      const linked = selects.some(({ name }) => state.has(name));
      selects.forEach((box) => {
        const wanted = linked ? state.get(box.name) ?? "" : first?.dataset[box.name] ?? "";
        box.value = [...box.options].some(({ value }) => value === wanted) ? wanted : "";
      });
      if (search) {
        search.value = state.get("words") ?? "";
        filter(block, words(search.value));
      }
      show();
    }

    selects.forEach((box) => box.addEventListener("change", () => choose(box.name)));
    search?.addEventListener("input", show);
    addEventListener("hashchange", read);
    read();
  }
})();
