// Before anything is drawn: what needs scripts is shown, and the theme that was chosen last time is set.
document.documentElement.classList.add("scripted");
try {
  const theme = localStorage.getItem("agiqa-bench-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be closed to a page: the theme is then the system's.
}
