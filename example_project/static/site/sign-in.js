/** Signs in with one of the demo's accounts by one click. */
const form = document.querySelector("#sign-in");
for (const button of document.querySelectorAll("[data-account]")) {
  button.addEventListener("click", () => {
    form.elements.username.value = button.dataset.account;
    form.elements.password.value = button.dataset.account;
    form.requestSubmit();
  });
}
