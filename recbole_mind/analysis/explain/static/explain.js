const parts = [...document.querySelectorAll("section.one")], picker = document.querySelector(".pick select");
const [back, on] = document.querySelectorAll(".pick button");
const show = place => {
  parts.forEach((part, i) => part.hidden = i !== place);
  picker.value = place; back.disabled = place === 0; on.disabled = place === parts.length - 1;
};
const go = place => { show(place); location.replace("#" + (place + 1)); };
const asked = () => Math.min(Math.max(parseInt(location.hash.slice(1)) - 1 || 0, 0), parts.length - 1);
document.querySelector(".pick").hidden = parts.length < 2;
picker.addEventListener("change", () => go(Number(picker.value)));
back.addEventListener("click", () => go(Number(picker.value) - 1));
on.addEventListener("click", () => go(Number(picker.value) + 1));
addEventListener("hashchange", () => show(asked()));
show(asked());
