// Shows a copy button beside what it copies, and says how it went.
const status = document.getElementById("copy-status");

for (const button of document.querySelectorAll("[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  if (!source) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    status.textContent = "";
    status.textContent = (await copy(source)) ? button.dataset.copied : button.dataset.failed;
  });
}

async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    // No clipboard, or no leave to use it: without https browsers still copy what is selected.
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}
