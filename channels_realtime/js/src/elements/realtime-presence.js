/**
 * `<realtime-presence name="rooms/1">`: who is on a channel, and how many.
 *
 * Where it has elements with `data-count`, they get the number; otherwise it is its text. A `<template>` in it is
 * repeated for each member: `data-value="info.name"` gets that field of the member as text. What the server has rendered
 * stays until the members are known.
 */

import { Subscriber } from "./subscriber.js";

/** @import {Member, SubscriptionOptions} from "../typedefs.js" */

export class RealtimePresence extends Subscriber {
  /** @type {Map<string, Element[]>} By the member's id. */
  #shown = new Map();

  /** @returns {SubscriptionOptions} */
  _options() {
    return {
      presence: true,
      onMembers: (members, count) => {
        this.#show(members, count);
        this._tell("members", { members: [...members.values()], count });
      },
    };
  }

  /** @param {Map<string, Member>} members @param {number} count */
  #show(members, count) {
    const template = this.querySelector("template");
    const counts = this.querySelectorAll("[data-count]");
    for (const element of counts) setText(element, count);
    if (!template && counts.length === 0) setText(this, count);
    if (!template) return;
    for (const [id, elements] of this.#shown) {
      if (members.has(id)) continue;
      for (const element of elements) element.remove();
      this.#shown.delete(id);
    }
    for (const [id, member] of members) {
      let elements = this.#shown.get(id);
      if (!elements) {
        const content = /** @type {DocumentFragment} */ (document.importNode(template.content, true));
        this.#shown.set(id, (elements = [...content.children]));
        template.parentNode?.append(content);
      }
      for (const element of elements) fill(element, member);
    }
  }
}

/** @param {Element} element @param {Member} member */
function fill(element, member) {
  for (const field of [element, ...element.querySelectorAll("[data-value]")]) {
    const path = field.getAttribute("data-value");
    if (path) setText(field, path.split(".").reduce((/** @type {any} */ value, name) => value?.[name], member) ?? "");
  }
}

/** Only where it differs, since screen readers announce changes. @param {Element} element @param {unknown} value */
function setText(element, value) {
  if (element.textContent !== String(value)) element.textContent = String(value);
}
