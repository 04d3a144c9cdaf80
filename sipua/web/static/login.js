// The token is sent once and comes back as a cookie that no script can read; it is kept nowhere here.

import { post } from "./api.js";
import { fill, h } from "./dom.js";

export function loginView({ done, why = "" }) {
  const trouble = h("p", { class: "alert", role: "alert", id: "trouble", hidden: !why }, why);
  const token = h("input", {
    name: "token", type: "password", required: true, autocomplete: "current-password", "aria-describedby": "trouble",
    maxlength: 512, spellcheck: "false", autocapitalize: "off",
  });
  const button = h("button", { class: "main" }, "Log in");

  async function send(event) {
    event.preventDefault();
    button.disabled = true;
    try {
      const session = await post("session", { token: token.value.trim() });
      token.value = "";
      done(session);
    } catch (error) {
      button.disabled = false;
      trouble.hidden = false;
      fill(trouble, error.message);
      token.select();
      token.focus();
    }
  }

  return {
    title: "Log in",
    element: [
      h("section", { class: "panel login", "aria-labelledby": "login" },
        h("h1", { id: "login" }, "sipua"),
        h("p", { class: "quiet" }, "Log in with a token of the role read or operate (sipua token add)."),
        h("form", { onsubmit: send }, h("label", {}, "Token", token), trouble, button)),
    ],
    focus: token,
    leave: () => {},
  };
}
